//! `system reset`: an empty node. kletd goes on; the order is that in which things depend on each other.

use clap::Args;
use serde_json::{Value, json};

use crate::client::with_query;
use crate::context::{Context, items, name_of, namespace_of};
use crate::error::{Result, plain};
use crate::kinds::{self, Kind};
use crate::output;
use crate::waiting::Awaited;

/// Namespaces that are always there.
const KEPT: [&str; 2] = ["default", "kube-system"];

/// Options of `system reset`.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
    /// Seconds that each pod has to end; by default what its spec says.
    #[arg(long)]
    grace_period: Option<u32>,
}

impl Reset {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let mut list = context.list(kinds::pod(), true, &[]).await?;
        let pods = items(&mut list, kinds::pod());
        refuse_static(&pods)?;
        if !self.force {
            super::confirm(&format!(
                "This ends {} pods and removes all objects and images of this node.",
                pods.len()
            ))?;
        }
        self.end_pods(context, &pods).await?;
        for kind in ["ConfigMap", "Secret", "Event"] {
            remove_all(context, kinds::of(kind).expect("they stand in the table")).await?;
        }
        remove_namespaces(context).await?;
        let path = with_query("/klet/v1/images/prune", &[("all", "true")]);
        let report = context.client.post(&path, &json!({})).await?;
        let freed = output::bytes(report["freed"].as_u64().unwrap_or(0));
        output::print(&format!("All pods, objects and images are gone; {freed} freed.\n"))
    }

    async fn end_pods(&self, context: &Context, pods: &[Value]) -> Result {
        let mut options = options();
        if let Some(seconds) = self.grace_period {
            options["gracePeriodSeconds"] = seconds.into();
        }
        for pod in pods {
            delete(context, kinds::pod(), pod, &options).await?;
        }
        for pod in pods {
            let awaited = Awaited {
                client: &context.client,
                kind: kinds::pod(),
                namespace: namespace_of(pod),
                name: name_of(pod),
            };
            let uid = &pod["metadata"]["uid"];
            let gone = |now: Option<&Value>| now.is_none_or(|now| now["metadata"]["uid"] != *uid);
            awaited.until(None, gone).await?;
            output::print(&format!("pod {}/{} ended\n", namespace_of(pod), name_of(pod)))?;
        }
        Ok(())
    }
}

/// Static pods come back as long as their files are there.
fn refuse_static(pods: &[Value]) -> Result {
    let from_file =
        |pod: &&Value| pod["metadata"]["annotations"]["kubernetes.io/config.source"] == "file";
    let names: Vec<&str> = pods.iter().filter(from_file).map(name_of).collect();
    if names.is_empty() {
        return Ok(());
    }
    plain(format!(
        "static pods would come back: {}. Move their manifests away first \
         (`kletctl system info` names the directory)",
        names.join(", ")
    ))
}

fn options() -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions"})
}

async fn delete(context: &Context, kind: &Kind, object: &Value, options: &Value) -> Result {
    let path = kind.path(Some(namespace_of(object)), Some(name_of(object)));
    match context.client.delete(&path, options).await {
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn remove_all(context: &Context, kind: &'static Kind) -> Result {
    let mut list = context.list(kind, true, &[]).await?;
    for object in items(&mut list, kind) {
        delete(context, kind, &object, &options()).await?;
    }
    Ok(())
}

async fn remove_namespaces(context: &Context) -> Result {
    let kind = kinds::of("Namespace").expect("Namespace stands in the table");
    let mut list = context.list(kind, true, &[]).await?;
    let mut others = items(&mut list, kind);
    others.retain(|namespace| !KEPT.contains(&name_of(namespace)));
    for namespace in &others {
        delete(context, kind, namespace, &options()).await?;
    }
    for namespace in &others {
        let name = name_of(namespace);
        let awaited = Awaited { client: &context.client, kind, namespace: "", name };
        awaited.until(None, |now| now.is_none()).await?;
    }
    Ok(())
}
