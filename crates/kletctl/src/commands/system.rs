//! `system`: facts about daemon and machine, a doctor, disk usage, cleaning up.

use clap::{Args, Subcommand};
use klet_api::duration::human;
use klet_api::table::Printer;
use serde_json::Value;

use super::doctor;
use super::image::Prune;
use super::reset::Reset;
use super::version::json_or_yaml;
use crate::context::Context;
use crate::error::{Error, Result, plain};
use crate::output::{self, Format, bytes};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Versions, paths, and what the machine offers.
    Info(Info),
    /// Is this machine fit to run pods, and what to do where it is not?
    Check(Check),
    /// What takes how much disk space.
    Df(Df),
    /// Remove images without a name and layers nobody needs; with --all every unused image.
    Prune(Prune),
    /// End all pods and remove all objects and images.
    Reset(Reset),
}

impl System {
    pub(crate) async fn run(self, context: &Context) -> Result {
        match self {
            System::Info(command) => command.run(context).await,
            System::Check(command) => command.run(context).await,
            System::Df(command) => command.run(context).await,
            System::Prune(command) => command.run(context).await,
            System::Reset(command) => command.run(context).await,
        }
    }
}

/// Options of `system info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Output format.
    #[arg(short, long, value_name = "json|yaml", value_parser = json_or_yaml)]
    output: Option<Format>,
}

impl Info {
    async fn run(self, context: &Context) -> Result {
        let info = context.client.get("/klet/v1/system/info").await?;
        match &self.output {
            Some(format) => format.print(&info),
            None => output::print(&facts(&info)),
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The facts, one per line.
fn facts(info: &Value) -> String {
    let number = |key: &str| info[key].as_i64().unwrap_or(0);
    let uptime = human(jiff::SignedDuration::from_secs(number("uptimeSeconds")));
    let allocatable = &info["allocatable"];
    let memory = text(allocatable, "memory")
        .parse()
        .map_or_else(|_| text(allocatable, "memory").to_owned(), bytes);
    let names = |key: &str| -> Vec<&str> {
        info[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let (held, missing) = (names("capabilities").len(), names("missingCapabilities"));
    let capabilities = match missing.as_slice() {
        [] => format!("all ({held})"),
        missing => format!("{held}, without {}", missing.join(", ")),
    };
    let lines = [
        ("Client", concat!("v", env!("CARGO_PKG_VERSION")).to_owned()),
        ("Server", format!("v{}, up {uptime}", text(info, "version"))),
        ("Node", text(info, "node").to_owned()),
        ("Machine", format!("{} CPUs, {memory} memory", text(allocatable, "cpu"))),
        ("Kernel", text(info, "kernel").to_owned()),
        ("Cgroups", format!("{}, below {}", text(info, "cgroup"), text(info, "cgroupParent"))),
        ("Capabilities", capabilities),
        ("Root", text(info, "root").to_owned()),
        ("Run", text(info, "run").to_owned()),
        ("Logs", text(info, "logDir").to_owned()),
        ("Manifests", text(info, "manifests").to_owned()),
        ("Socket", text(info, "socket").to_owned()),
        ("Network", format!("{} on {}", text(info, "podCIDR"), text(info, "bridge"))),
        ("Pods", number("pods").to_string()),
        ("Images", number("images").to_string()),
    ];
    let lines: Vec<Vec<String>> =
        lines.into_iter().map(|(name, value)| vec![format!("{name}:"), value]).collect();
    Printer::new().lines(&lines)
}

/// Options of `system check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Output format.
    #[arg(short, long, value_name = "json|yaml", value_parser = json_or_yaml)]
    output: Option<Format>,
}

impl Check {
    async fn run(self, context: &Context) -> Result {
        let report = match context.client.get("/klet/v1/system/check").await {
            Err(Error::NotRunning { socket }) => doctor::report(&socket),
            other => other?,
        };
        match &self.output {
            Some(format) => format.print(&report)?,
            None => output::print(&verdicts(&report))?,
        }
        let bad = checks(&report).iter().any(|check| text(check, "level") == "problem");
        if bad { plain("this machine is not fit to run pods yet") } else { Ok(()) }
    }
}

fn checks(report: &Value) -> &[Value] {
    report["checks"].as_array().map_or(&[], Vec::as_slice)
}

/// A line per check; below it what to do if there is something to do.
fn verdicts(report: &Value) -> String {
    let name = checks(report).iter().map(|check| text(check, "name").len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks(report) {
        let level = text(check, "level");
        let (title, detail) = (text(check, "name"), text(check, "detail"));
        out.push_str(&format!("{level:9}{title:name$}  {detail}\n"));
        let hint = text(check, "hint");
        if !hint.is_empty() {
            out.push_str(&format!("{:9}{:name$}  -> {hint}\n", "", ""));
        }
    }
    let count =
        |level: &str| checks(report).iter().filter(|check| text(check, "level") == level).count();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (problems, warnings) = (count("problem"), count("warning"));
    out.push_str(&format!(
        "\n{problems} problem{}, {warnings} warning{}\n",
        plural(problems),
        plural(warnings)
    ));
    out
}

/// Options of `system df`.
#[derive(Debug, Args)]
pub(crate) struct Df {
    /// Output format.
    #[arg(short, long, value_name = "json|yaml", value_parser = json_or_yaml)]
    output: Option<Format>,
}

impl Df {
    async fn run(self, context: &Context) -> Result {
        let usage = context.client.get("/klet/v1/system/df").await?;
        match &self.output {
            Some(format) => format.print(&usage),
            None => output::print(&sizes(&usage)),
        }
    }
}

fn sizes(usage: &Value) -> String {
    let header = ["TYPE", "COUNT", "SIZE", "RECLAIMABLE"].map(ToOwned::to_owned).to_vec();
    let mut lines = vec![header];
    for (title, key) in [
        ("Images", "images"),
        ("Containers", "snapshots"),
        ("Volumes", "volumes"),
        ("Logs", "logs"),
        ("Store", "store"),
    ] {
        let part = &usage[key];
        let amount = |key: &str| part[key].as_u64();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        lines.push(vec![
            title.to_owned(),
            or_dash(amount("count").map(|count| count.to_string())),
            or_dash(amount("bytes").map(bytes)),
            or_dash(amount("reclaimable").map(bytes)),
        ]);
    }
    Printer::new().lines(&lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn checks_say_what_to_do() {
        let report = json!({"checks": [
            {"name": "kernel", "level": "ok", "detail": "6.18", "hint": ""},
            {"name": "overlay", "level": "problem", "detail": "absent", "hint": "modprobe overlay"},
        ]});
        assert_eq!(
            verdicts(&report),
            "ok       kernel   6.18\n\
             problem  overlay  absent\n\
             \u{20}                 -> modprobe overlay\n\
             \n1 problem, 0 warnings\n"
        );
    }

    #[test]
    fn sizes_are_in_one_table() {
        let usage = json!({
            "images": {"count": 2, "bytes": 2048, "reclaimable": 0},
            "store": {"bytes": 10},
        });
        let text = sizes(&usage);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "Images       2       2.0KiB   0B");
        assert_eq!(lines[5], "Store        -       10B      -");
    }
}
