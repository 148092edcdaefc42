//! `run`: a pod of one container, from flags.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use std::io::Write;
use tokio::time::Instant;

use super::{DryRun, create::How};
use crate::client::with_query;
use crate::context::Context;
use crate::error::{Error, Result, plain};
use crate::kinds;
use crate::output::{self, Format};
use crate::waiting::Awaited;

/// Options of `run`.
#[derive(Debug, Args)]
#[command(override_usage = "kletctl run NAME --image=IMAGE [OPTIONS] [-- ARG...]")]
#[command(after_help = "Examples:
  kletctl run web --image=nginx --port=80
  kletctl run once --image=busybox --restart=Never --attach --rm -- echo hello
  kletctl run web --image=nginx --dry-run -o yaml > pod.yaml")]
pub(crate) struct Run {
    /// The pod's name.
    name: String,
    /// The container's image.
    #[arg(long)]
    image: String,
    /// Always, IfNotPresent or Never.
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// What happens when the container ends.
    #[arg(long, value_enum, default_value = "Always")]
    restart: Restart,
    /// KEY=VALUE for the container's environment.
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// A port the container listens on.
    #[arg(long)]
    port: Option<u16>,
    /// KEY=VALUE,... ; the default is run=NAME.
    #[arg(short = 'l', long, value_delimiter = ',', value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Let the container do all that root may do.
    #[arg(long)]
    privileged: bool,
    /// The arguments are the command itself, not arguments of the image's entrypoint.
    #[arg(long)]
    command: bool,
    /// A merge patch for the pod, in JSON.
    #[arg(long, value_name = "JSON")]
    overrides: Option<String>,
    /// Wait for the container and print what it writes until it ends.
    #[arg(long)]
    attach: bool,
    /// With --attach: delete the pod at the end.
    #[arg(long, requires = "attach")]
    rm: bool,
    /// With --attach: how long the container may take to start.
    #[arg(long, default_value = "1m", value_parser = super::wait::duration)]
    pod_running_timeout: Duration,
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client")]
    dry_run: DryRun,
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
    /// Print only what the container prints.
    #[arg(short, long)]
    quiet: bool,
    /// Arguments for the image's entrypoint, or with --command the command.
    #[arg(last = true, value_name = "ARG")]
    args: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let pod = self.pod()?;
        if !self.attach {
            let how = How { dry_run: self.dry_run, output: self.output };
            return how.create(context, kinds::pod(), pod).await;
        }
        if self.dry_run != DryRun::None {
            return plain("--dry-run can't be used with attached containers options (--attach)");
        }
        let path = kinds::pod().path(Some(context.namespace()), None);
        context.client.post(&with_query(&path, &DryRun::None.query()), &pod).await?;
        let ended = self.follow(context).await;
        if self.rm {
            let path = context.path(kinds::pod(), &self.name);
            let options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
            context.client.delete(&path, &options).await?;
            if !self.quiet {
                let place = context.namespace();
                output::note(&format!("pod \"{}\" deleted from {place} namespace", self.name));
            }
        }
        ended
    }

    fn pod(&self) -> Result<Value> {
        let labels = match self.labels.is_empty() {
            true => Map::from_iter([("run".to_owned(), self.name.as_str().into())]),
            false => pairs(&self.labels, "label")?,
        };
        let mut metadata = json!({"name": self.name, "labels": labels});
        if !self.annotations.is_empty() {
            metadata["annotations"] = Value::Object(pairs(&self.annotations, "annotation")?);
        }
        let mut container = json!({"name": self.name, "image": self.image, "resources": {}});
        if !self.args.is_empty() {
            container[if self.command { "command" } else { "args" }] = self.args.clone().into();
        } else if self.command {
            return plain("--command needs a command behind --");
        }
        if !self.env.is_empty() {
            let env = pairs(&self.env, "env")?.into_iter();
            container["env"] =
                env.map(|(name, value)| json!({"name": name, "value": value})).collect();
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        if self.privileged {
            container["securityContext"] = json!({"privileged": true});
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {
            "containers": [container], "dnsPolicy": "ClusterFirst",
            "restartPolicy": format!("{:?}", self.restart)}});
        match &self.overrides {
            None => Ok(pod),
            Some(text) => {
                let overrides = serde_json::from_str(text)
                    .map_err(|cause| Error::Plain(format!("invalid --overrides: {cause}")))?;
                Ok(klet_api::patch::merge_patch(&pod, &overrides))
            }
        }
    }

    /// Prints the container's output until it ends; its exit code becomes ours.
    async fn follow(&self, context: &Context) -> Result {
        let awaited = Awaited {
            client: &context.client,
            kind: kinds::pod(),
            namespace: context.namespace(),
            name: &self.name,
        };
        let deadline = Instant::now() + self.pod_running_timeout;
        if !awaited.until(Some(deadline), |pod| pod.is_none_or(has_started)).await? {
            return plain("timed out waiting for the condition");
        }
        let log = format!("{}/log", context.path(kinds::pod(), &self.name));
        let query = [("container", self.name.as_str()), ("follow", "true")];
        let mut body = context.client.stream(&with_query(&log, &query)).await?.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|cause| Error::Connection(cause.to_string()))?;
            if let Ok(data) = frame.into_data() {
                let mut out = std::io::stdout().lock();
                out.write_all(&data)?;
                out.flush()?;
            }
        }
        if self.restart != Restart::Never {
            return Ok(());
        }
        let mut code = 0;
        let ended = |pod: Option<&Value>| match pod.map(exit_code) {
            None => true,
            Some(None) => false,
            Some(Some(ended)) => {
                code = ended;
                true
            }
        };
        awaited.until(None, ended).await?;
        if code == 0 { Ok(()) } else { Err(Error::Exit(code)) }
    }
}

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

fn has_started(pod: &Value) -> bool {
    !state(pod)["running"].is_null() || !state(pod)["terminated"].is_null()
}

fn exit_code(pod: &Value) -> Option<i32> {
    let code = state(pod)["terminated"]["exitCode"].as_i64()?;
    Some(i32::try_from(code).unwrap_or(1))
}

fn pairs(texts: &[String], what: &str) -> Result<Map<String, Value>> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.into())),
            _ => plain(format!("invalid {what}: {text}, expected KEY=VALUE")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn pod(line: &str) -> Result<Value> {
        let words = std::iter::once("run").chain(line.split(' '));
        Line::try_parse_from(words).expect("a valid command line").run.pod()
    }

    #[test]
    fn flags_become_a_pod() {
        assert_eq!(
            pod("web --image=nginx").unwrap(),
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "web", "labels": {"run": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx", "resources": {}}],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}})
        );
        let pod = pod("b --image=busybox --restart=Never --env=A=1=2 --port=80 -l a=b,c=d \
            --command --overrides={\"spec\":{\"hostNetwork\":true}} -- sh -c x")
        .unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["sh", "-c", "x"]));
        assert_eq!(container["env"], json!([{"name": "A", "value": "1=2"}]));
        assert_eq!(container["ports"], json!([{"containerPort": 80}]));
        assert_eq!(pod["metadata"]["labels"], json!({"a": "b", "c": "d"}));
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
        assert_eq!(pod["spec"]["hostNetwork"], true);
    }

    #[test]
    fn mistakes_are_told() {
        assert!(pod("b --image=x --env=A").is_err());
        assert!(pod("b --image=x --command").is_err());
    }
}
