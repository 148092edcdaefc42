//! `timeline`: a pod's life as it happened.

use std::io::{IsTerminal, stdout};

use clap::Args;
use jiff::tz::TimeZone;
use rustix::termios::tcgetwinsize;
use serde_json::Value;

use crate::client::escape;
use crate::context::{Context, now, pod_name};
use crate::error::{Error, Result};
use crate::kinds;
use crate::output::{self, Format};
use crate::timeline::{Entry, Look, render};

/// Columns where no terminal says how many there are.
const WIDTH: usize = 100;

/// Options of `timeline`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kletctl timeline web\n  kletctl timeline web -o json")]
pub(crate) struct Timeline {
    /// POD or pod/POD
    pod: String,
    /// What was recorded, as kletd gives it.
    #[arg(short, long, value_name = "json|yaml", value_parser = super::version::json_or_yaml)]
    output: Option<Format>,
    /// Draw with ASCII characters only.
    #[arg(long)]
    ascii: bool,
}

impl Timeline {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let name = pod_name(&self.pod)?;
        let pod = context.get(kinds::pod(), &name).await?;
        let [namespace, pod_segment] = [context.namespace(), &name].map(escape);
        let path = format!("/klet/v1/pods/{namespace}/{pod_segment}/timeline");
        let record = context.client.get(&path).await?;
        if let Some(format) = &self.output {
            return format.print(&record);
        }
        output::print(&render(&pod, &entries(&record)?, &self.look()))
    }

    fn look(&self) -> Look {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
        let unicode = locale.is_none_or(|locale| locale.to_uppercase().contains("UTF"));
        let terminal = stdout().is_terminal();
        let size = tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col));
        let columns = size.filter(|columns| *columns > 0);
        let columns = columns.or_else(|| variable("COLUMNS")?.parse().ok());
        Look {
            width: columns.unwrap_or(WIDTH),
            ascii: self.ascii || (terminal && !unicode),
            color: terminal && variable("NO_COLOR").is_none(),
            now: now(),
            zone: TimeZone::system(),
        }
    }
}

fn entries(record: &Value) -> Result<Vec<Entry>> {
    serde_json::from_value(record["entries"].clone())
        .map_err(|cause| Error::Connection(format!("the timeline cannot be read: {cause}")))
}
