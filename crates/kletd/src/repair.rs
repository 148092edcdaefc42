//! Puts back what somebody else takes from the pod network, as soon as it is taken.

use std::time::Duration;

use anyhow::Context;
use klet_net::{Monitor, Report};
use tokio::io::Interest;

use crate::node::NodeRef;
use crate::wait::asynchronous;

/// Pause before a repair that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Repairs the pod network for ever.
pub async fn run(node: NodeRef) {
    if let Err(error) = follow(&node).await {
        tracing::error!("damage to the pod network is noticed at the next start only: {error:#}");
    }
}

async fn follow(node: &NodeRef) -> anyhow::Result<()> {
    let mut monitor = Monitor::open(node.network.config())?;
    let mut copies = Vec::new();
    for descriptor in monitor.descriptors() {
        let copy = descriptor.try_clone_to_owned().context("cannot copy a socket")?;
        copies.push(asynchronous(copy, Interest::READABLE).context("cannot poll a socket")?);
    }
    let [route, filter] = copies.as_slice() else { return Ok(()) };
    loop {
        let mut ready = tokio::select! {
            ready = route.readable() => ready?,
            ready = filter.readable() => ready?,
        };
        ready.clear_ready();
        drop(ready);
        while monitor.damaged() {
            repair(node).await;
        }
    }
}

async fn repair(node: &NodeRef) {
    loop {
        let worker = node.clone();
        let repaired = tokio::task::spawn_blocking(move || worker.network.repair()).await;
        match repaired {
            Ok(Ok(report)) => return tell(&report),
            Ok(Err(error)) => {
                let error = anyhow::Error::from(error);
                tracing::warn!("cannot repair the pod network: {error:#}");
            }
            Err(error) => tracing::error!(%error, "repairing the pod network"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn tell(report: &Report) {
    if report.bridge_restored {
        tracing::warn!("the pod bridge was removed or changed by somebody; it was restored");
    }
    if report.table_restored {
        tracing::warn!("klet's nftables table was removed or changed by somebody; it was restored");
    }
}
