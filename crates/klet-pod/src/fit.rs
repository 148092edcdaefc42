//! Does a pod fit on the node, beside those that are there? The scheduler's filters and the
//! kubelet's admission ask the same questions in another order and answer in other words.

use std::collections::BTreeMap;

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};
use klet_api::quantity::Quantity;

use crate::model::StartFailure;
use crate::{pods, text};

mod claim;

pub use claim::Claim;

/// What the node has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Offer {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Allocatable, by resource name.
    pub allocatable: BTreeMap<String, String>,
    /// Patterns of sysctls that pods may set beside the safe ones: `net.core.somaxconn`, `net.*`.
    pub unsafe_sysctls: Vec<String>,
}

/// One reason why a pod does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// Not enough of a resource: milli for cpu, units for others.
    Resource {
        name: String,
        requested: i128,
        used: i128,
        capacity: i128,
    },
    Affinity,
    NodeName,
    Ports,
    Sysctl(String),
}

/// Sysctls that any pod may set.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// The scheduler's question about a pod that names no node: why it has to wait, in its words.
///
/// # Errors
/// The message of the condition `PodScheduled` and the event `FailedScheduling`.
pub fn schedule<'a>(
    pod: &Pod,
    offer: &Offer,
    held: impl Iterator<Item = &'a Claim> + Clone,
) -> Result<(), String> {
    let claim = Claim::of(pod);
    let (mut reasons, helped) = if !matches_node(pod, offer) {
        (vec![Misfit::Affinity.filtered()], false)
    } else if claim.collides(held.clone()) {
        (vec![Misfit::Ports.filtered()], true)
    } else {
        let short = claim.shortages(offer, held);
        (short.iter().map(Misfit::filtered).collect(), true)
    };
    if reasons.is_empty() {
        return Ok(());
    }
    reasons.sort();
    Err(text::unschedulable(&reasons, helped))
}

/// The kubelet's question about a pod that has been given this node: the first reason to refuse it.
///
/// # Errors
/// Reason and message of the event; the status says [`text::rejected`].
pub fn admit<'a>(
    pod: &Pod,
    offer: &Offer,
    held: impl Iterator<Item = &'a Claim> + Clone,
) -> Result<(), StartFailure> {
    allowed_sysctls(pod, offer)?;
    let claim = Claim::of(pod);
    let mut misfits = claim.shortages(offer, held.clone());
    if !matches_node(pod, offer) {
        misfits.push(Misfit::Affinity);
    }
    if pods::node_name(pod).is_some_and(|name| name != offer.name) {
        misfits.push(Misfit::NodeName);
    }
    if claim.collides(held) {
        misfits.push(Misfit::Ports);
    }
    misfits.first().map_or(Ok(()), |misfit| Err(misfit.refused()))
}

/// The part of admission that no scheduler asks: sysctls beyond the safe ones.
///
/// # Errors
/// As [`admit`].
pub fn allowed_sysctls(pod: &Pod, offer: &Offer) -> Result<(), StartFailure> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let names = context.into_iter().flat_map(|context| context.sysctls.iter().flatten());
    let allowed = |name: &str| {
        let name = name.replace('/', ".");
        SAFE_SYSCTLS.contains(&name.as_str())
            || offer.unsafe_sysctls.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *pattern,
            })
    };
    let mut names = names.map(|sysctl| &sysctl.name);
    match names.find(|name| !allowed(name)) {
        Some(name) => Err(Misfit::Sysctl(name.clone()).refused()),
        None => Ok(()),
    }
}

impl Misfit {
    /// The scheduler's word.
    fn filtered(&self) -> String {
        match self {
            Self::Resource { name, .. } if name == "pods" => "Too many pods".to_owned(),
            Self::Resource { name, .. } => format!("Insufficient {name}"),
            other => other.predicate().1.to_owned(),
        }
    }

    /// The kubelet's word.
    fn refused(&self) -> StartFailure {
        let (reason, message) = match self {
            Self::Resource { name, requested, used, capacity } => (
                format!("OutOf{name}"),
                format!(
                    "Node didn't have enough resource: {name}, requested: {requested}, \
                     used: {used}, capacity: {capacity}"
                ),
            ),
            Self::Sysctl(name) => {
                let name = text::quoted(name);
                ("SysctlForbidden".to_owned(), format!("forbidden sysctl: {name} not allowlisted"))
            }
            other => {
                let (name, why) = other.predicate();
                (name.to_owned(), format!("Predicate {name} failed: {why}"))
            }
        };
        StartFailure { reason, message }
    }

    fn predicate(&self) -> (&'static str, &'static str) {
        match self {
            Self::NodeName => ("NodeName", "node(s) didn't match the requested node name"),
            Self::Ports => {
                ("NodePorts", "node(s) didn't have free ports for the requested pod ports")
            }
            _ => ("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
        }
    }
}

/// `nodeSelector` and the required node affinity.
fn matches_node(pod: &Pod, offer: &Offer) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let selected = spec.node_selector.iter().flatten();
    let required =
        spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()).and_then(
            |affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref(),
        );
    selected.into_iter().all(|(key, value)| offer.labels.get(key) == Some(value))
        && required.is_none_or(|required| any_term(required, offer))
}

/// Terms are alternatives; an empty one matches nothing.
fn any_term(selector: &NodeSelector, offer: &Offer) -> bool {
    let matches = |term: &NodeSelectorTerm| {
        let labels = term.match_expressions.iter().flatten();
        let fields = term.match_fields.iter().flatten();
        let mut requirements = labels.clone().chain(fields.clone()).peekable();
        requirements.peek().is_some()
            && labels.into_iter().all(|r| meets(r, offer.labels.get(&r.key).map(String::as_str)))
            && fields
                .into_iter()
                .all(|r| r.key == "metadata.name" && meets(r, Some(offer.name.as_str())))
    };
    selector.node_selector_terms.iter().any(matches)
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = |value: &str| values.iter().any(|known| known == value);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Milli for cpu, whole units (rounded up) for everything else: as Kubernetes counts and prints.
fn amount(resource: &str, quantity: &Quantity) -> i128 {
    if resource == "cpu" { quantity.milli_value() } else { quantity.value() }
}

#[cfg(test)]
mod tests;
