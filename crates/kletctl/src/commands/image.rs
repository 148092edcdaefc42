//! `image`: bring images onto this machine, look at them, remove them.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use clap::{Args, Subcommand};
use futures_util::stream::try_unfold;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use indicatif::{ProgressBar, ProgressStyle};
use klet_api::duration::age;
use klet_api::table::Printer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::version::json_or_yaml;
use crate::client::{Body, Lines, with_body, with_query};
use crate::context::{Context, now};
use crate::error::{Error, Result, all_or_first, plain};
use crate::output::{self, Format, bytes};

/// Bytes sent at once.
const CHUNK: usize = 256 << 10;

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Load images from OCI or docker archives (tar, plain or compressed).
    Load(Load),
    /// List images.
    #[command(alias = "list")]
    Ls(Ls),
    /// Show what is known of images.
    Inspect(Inspect),
    /// Remove images.
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove images without a name; with --all every image that no pod uses.
    Prune(Prune),
}

impl Image {
    pub(crate) async fn run(self, context: &Context) -> Result {
        match self {
            Image::Load(command) => command.run(context).await,
            Image::Ls(command) => command.run(context).await,
            Image::Inspect(command) => command.run(context).await,
            Image::Rm(command) => command.run(context).await,
            Image::Prune(command) => command.run(context).await,
        }
    }
}

/// Options of `image load`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kletctl image load busybox.tar\n  \
    docker save nginx | kletctl image load -\n  tar -C LAYOUT -c . | kletctl image load -")]
pub(crate) struct Load {
    /// Archives; - for standard input.
    #[arg(value_name = "FILE", required_unless_present = "input")]
    files: Vec<PathBuf>,
    /// One more archive, as docker load takes it.
    #[arg(short, long, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Print nothing.
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    async fn run(self, context: &Context) -> Result {
        for path in self.files.iter().chain(&self.input) {
            let answers = self.send(context, path).await?;
            for answer in answers {
                if let Some(text) = answer["error"].as_str() {
                    return plain(format!("{}: {text}", path.display()));
                }
                if !self.quiet {
                    output::print(&loaded(&answer["loaded"]))?;
                }
            }
        }
        Ok(())
    }

    /// Sends one archive; gives what the server says of each image in it.
    async fn send(&self, context: &Context, path: &Path) -> Result<Vec<Value>> {
        let bar = if self.quiet { ProgressBar::hidden() } else { bar(path) };
        let body = if path == Path::new("-") {
            upload(tokio::io::stdin(), &bar)
        } else {
            let file = |cause| Error::File { path: path.to_owned(), cause };
            let metadata = tokio::fs::metadata(path).await.map_err(file)?;
            if metadata.is_dir() {
                return plain(format!(
                    "{0} is a directory; send an OCI layout as an archive: \
                     tar -C {0} -c . | kletctl image load -",
                    path.display()
                ));
            }
            bar.set_length(metadata.len());
            upload(tokio::fs::File::open(path).await.map_err(file)?, &bar)
        };
        let request = with_body(Method::POST, "/klet/v1/images/load", "application/x-tar", body);
        let mut lines = Lines::new(context.client.send(request).await?);
        let mut answers = Vec::new();
        while let Some(line) = lines.next().await? {
            let answer = serde_json::from_slice(&line)
                .map_err(|cause| Error::Connection(format!("the answer is not JSON: {cause}")))?;
            answers.push(answer);
        }
        bar.finish_and_clear();
        if answers.is_empty() {
            return Err(Error::Connection("kletd has not said what it loaded".to_owned()));
        }
        Ok(answers)
    }
}

/// Shown on standard error if that is a terminal.
fn bar(path: &Path) -> ProgressBar {
    let (template, bar) = if path == Path::new("-") {
        ("{spinner} {msg} {bytes} {bytes_per_sec}", ProgressBar::new_spinner())
    } else {
        ("{spinner} {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}", ProgressBar::new(0))
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
    bar.set_message(format!("loading {}", path.display()));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// A body that is read as it is sent.
fn upload(reader: impl AsyncRead + Unpin + Send + Sync + 'static, bar: &ProgressBar) -> Body {
    let frames = try_unfold((reader, bar.clone()), async |(mut reader, bar)| {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let count = reader.read_buf(&mut chunk).await?;
        bar.inc(count as u64);
        if count == 0 {
            bar.set_message("unpacking");
            return Ok(None);
        }
        Ok(Some((Frame::data(chunk.freeze()), (reader, bar))))
    });
    StreamBody::new(frames).boxed()
}

fn loaded(image: &Value) -> String {
    match image["name"].as_str() {
        Some(name) => format!("Loaded image: {name}\n"),
        None => format!("Loaded image ID: {}\n", image["id"].as_str().unwrap_or_default()),
    }
}

/// Options of `image ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Output format.
    #[arg(short, long, value_name = "json|yaml", value_parser = json_or_yaml)]
    output: Option<Format>,
    /// Only ids.
    #[arg(short, long)]
    quiet: bool,
}

impl Ls {
    async fn run(self, context: &Context) -> Result {
        let answer = context.client.get("/klet/v1/images").await?;
        if let Some(format) = &self.output {
            return format.print(&answer);
        }
        let images = answer["images"].as_array().map_or(&[][..], Vec::as_slice);
        if self.quiet {
            let ids = images.iter().filter_map(|image| image["id"].as_str());
            return output::print(&ids.map(|id| format!("{id}\n")).collect::<String>());
        }
        output::print(&table(images, now()))
    }
}

/// One line per name, by name; images without one last.
fn table(images: &[Value], now: jiff::Timestamp) -> String {
    let mut lines = Vec::new();
    for image in images {
        let id = image["id"].as_str().unwrap_or_default();
        let id: String = id.trim_start_matches("sha256:").chars().take(12).collect();
        let created = image["created"].as_str().and_then(|time| time.parse().ok());
        let created = if created.is_some() { age(created, now) } else { "<unknown>".to_owned() };
        let size = bytes(image["size"].as_u64().unwrap_or(0));
        let pods = image["pods"].as_array().map_or(0, Vec::len).to_string();
        let names = image["names"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = match names {
            [] => vec!["<none>"],
            names => names.iter().filter_map(Value::as_str).collect(),
        };
        for name in names {
            let cells = [name, &id, &created, &size, &pods];
            lines.push(cells.map(ToOwned::to_owned).to_vec());
        }
    }
    lines.sort_by_key(|cells| (cells[0] == "<none>", cells[0].clone()));
    lines.insert(0, ["NAME", "ID", "CREATED", "SIZE", "PODS"].map(ToOwned::to_owned).to_vec());
    Printer::new().lines(&lines)
}

/// Options of `image inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Names or ids.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Output format.
    #[arg(short, long, value_name = "json|yaml", value_parser = json_or_yaml)]
    #[arg(default_value = "json")]
    output: Format,
}

impl Inspect {
    async fn run(self, context: &Context) -> Result {
        let mut found = Vec::new();
        for name in &self.images {
            let path = with_query("/klet/v1/images/inspect", &[("name", name)]);
            found.push(context.client.get(&path).await?);
        }
        let single = found.len() == 1;
        self.output.print(&if single { found.remove(0) } else { Value::Array(found) })
    }
}

/// Options of `image rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Names or ids.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Even if pods use it: they cannot start containers from it again.
    #[arg(short, long)]
    force: bool,
}

impl Rm {
    async fn run(self, context: &Context) -> Result {
        let mut errors = Vec::new();
        for name in &self.images {
            let force = if self.force { "true" } else { "false" };
            let path = with_query("/klet/v1/images", &[("name", name), ("force", force)]);
            match context.client.delete(&path, &Value::Null).await {
                Ok(report) => output::print(&removed(&report))?,
                Err(error) => errors.push(error),
            }
        }
        all_or_first(errors)
    }
}

/// `Untagged: ...` and `Deleted: ...`, as docker words them.
fn removed(report: &Value) -> String {
    let list = |key: &str| -> Vec<&str> {
        match &report[key] {
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        }
    };
    let untagged = list("untagged").into_iter().map(|name| format!("Untagged: {name}\n"));
    let deleted = list("deleted").into_iter().map(|id| format!("Deleted: {id}\n"));
    untagged.chain(deleted).collect()
}

/// Options of `image prune` and `system prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Also images that have a name, if no pod uses them.
    #[arg(short, long)]
    all: bool,
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
}

impl Prune {
    pub(super) async fn run(self, context: &Context) -> Result {
        if self.all && !self.force {
            super::confirm("This removes every image that no pod uses.")?;
        }
        let all = if self.all { "true" } else { "false" };
        let path = with_query("/klet/v1/images/prune", &[("all", all)]);
        let report = context.client.post(&path, &json!({})).await?;
        let freed = bytes(report["freed"].as_u64().unwrap_or(0));
        output::print(&format!("{}Space freed: {freed}\n", removed(&report)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_by_name() {
        let images = [
            json!({"id": "sha256:0123456789abcdef", "names": [], "size": 5, "created": null, "pods": []}),
            json!({"id": "sha256:ff", "names": ["docker.io/library/b:1", "docker.io/library/a:1"],
                "size": 2048, "created": "2026-11-24T11:00:00Z", "pods": ["default/x"]}),
        ];
        assert_eq!(
            table(&images, "2026-11-24T12:00:00Z".parse().unwrap()),
            "NAME                    ID             CREATED     SIZE     PODS\n\
             docker.io/library/a:1   ff             60m         2.0KiB   1\n\
             docker.io/library/b:1   ff             60m         2.0KiB   1\n\
             <none>                  0123456789ab   <unknown>   5B       0\n"
        );
    }

    #[test]
    fn removals_are_told_one_by_one() {
        let report = json!({"untagged": ["a:1"], "deleted": "sha256:1", "freed": 1});
        assert_eq!(removed(&report), "Untagged: a:1\nDeleted: sha256:1\n");
        let report = json!({"untagged": [], "deleted": ["sha256:1", "sha256:2"]});
        assert_eq!(removed(&report), "Deleted: sha256:1\nDeleted: sha256:2\n");
    }
}
