//! `api-resources`: the kinds of objects the server knows.

use clap::Args;
use klet_api::table::Printer;
use serde_json::Value;

use crate::context::Context;
use crate::error::Result;
use crate::output;

/// Options of `api-resources`.
#[derive(Debug, Args)]
pub(crate) struct ApiResources {
    /// Output format.
    #[arg(short, long, value_parser = ["wide", "name"])]
    output: Option<String>,
    /// Only kinds that live in a namespace (true), or that do not (false).
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    namespaced: Option<bool>,
    /// Only kinds of this group; empty for the core group.
    #[arg(long)]
    api_group: Option<String>,
    /// No header line.
    #[arg(long)]
    no_headers: bool,
}

/// A kind as the server announces it.
struct Announced {
    group_version: String,
    resource: Value,
}

impl Announced {
    fn group(&self) -> &str {
        self.group_version.split_once('/').map_or("", |(group, _)| group)
    }

    fn text(&self, key: &str) -> &str {
        self.resource[key].as_str().unwrap_or_default()
    }

    fn list(&self, key: &str) -> String {
        let items = self.resource[key].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    }

    /// `pods`, `deployments.apps`.
    fn full_name(&self) -> String {
        match self.group() {
            "" => self.text("name").to_owned(),
            group => format!("{}.{group}", self.text("name")),
        }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.text("name").to_owned(),
            self.list("shortNames"),
            self.group_version.clone(),
            (self.resource["namespaced"] == true).to_string(),
            self.text("kind").to_owned(),
        ];
        if wide {
            cells.extend([self.list("verbs"), self.list("categories")]);
        }
        cells
    }
}

impl ApiResources {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let mut all = announced(context).await?;
        all.retain(|one| self.wants(one));
        all.sort_by_key(|one| (one.group().to_owned(), one.text("name").to_owned()));
        if self.output.as_deref() == Some("name") {
            return output::print(
                &all.iter().map(|one| one.full_name() + "\n").collect::<String>(),
            );
        }
        let wide = self.output.is_some();
        let mut lines: Vec<Vec<String>> = Vec::new();
        if !self.no_headers {
            let mut header = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
            if wide {
                header.extend(["VERBS", "CATEGORIES"]);
            }
            lines.push(header.into_iter().map(ToOwned::to_owned).collect());
        }
        lines.extend(all.iter().map(|one| one.cells(wide)));
        output::print(&Printer::new().lines(&lines))
    }

    fn wants(&self, one: &Announced) -> bool {
        let scope =
            self.namespaced.is_none_or(|wanted| (one.resource["namespaced"] == true) == wanted);
        scope && self.api_group.as_deref().is_none_or(|group| group == one.group())
    }
}

/// Every kind of every group, without subresources.
async fn announced(context: &Context) -> Result<Vec<Announced>> {
    let mut paths = vec!["/api/v1".to_owned()];
    let groups = context.client.get("/apis").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        if let Some(version) = group["preferredVersion"]["groupVersion"].as_str() {
            paths.push(format!("/apis/{version}"));
        }
    }
    let mut all = Vec::new();
    for path in paths {
        let mut list = context.client.get(&path).await?;
        let group_version = list["groupVersion"].as_str().unwrap_or_default().to_owned();
        let Value::Array(resources) = list["resources"].take() else { continue };
        let main =
            |resource: &Value| resource["name"].as_str().is_some_and(|name| !name.contains('/'));
        all.extend(
            resources
                .into_iter()
                .filter(main)
                .map(|resource| Announced { group_version: group_version.clone(), resource }),
        );
    }
    Ok(all)
}
