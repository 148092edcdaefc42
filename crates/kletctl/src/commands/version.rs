//! `version`: of this program, and of the server if it answers.

use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Result;
use crate::output::{self, Format};

/// Options of `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Only this program's: no server is asked.
    #[arg(long)]
    client: bool,
    /// Output format.
    #[arg(short, long, value_name = "json|yaml", value_parser = json_or_yaml)]
    output: Option<Format>,
}

/// `-o json|yaml`, for what is no Kubernetes object.
pub(crate) fn json_or_yaml(text: &str) -> std::result::Result<Format, String> {
    match text {
        "json" => Ok(Format::Json),
        "yaml" => Ok(Format::Yaml),
        _ => Err("--output must be 'yaml' or 'json'".to_owned()),
    }
}

impl Version {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let client = concat!("v", env!("CARGO_PKG_VERSION"));
        let server = match self.client {
            true => Ok(None),
            false => context.client.get("/version").await.map(Some),
        };
        let known = server.as_ref().ok().and_then(Option::as_ref);
        match &self.output {
            Some(format) => {
                let platform = format!("linux/{}", architecture());
                let mut versions =
                    json!({"clientVersion": {"gitVersion": client, "platform": platform}});
                if let Some(server) = known {
                    versions["serverVersion"] = server.clone();
                }
                format.print(&versions)?;
            }
            None => {
                output::print(&format!("Client Version: {client}\n"))?;
                if let Some(server) = known {
                    let version = server["gitVersion"].as_str().unwrap_or("unknown");
                    output::print(&format!("Server Version: {version}\n"))?;
                }
            }
        }
        // Without a server the answer is half an answer, as with kubectl.
        server.map(|_: Option<Value>| ())
    }
}

/// As Go and OCI name it.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}
