//! DNS policy and configuration of a pod.

use super::{complain, required_choice, text};
use crate::field::{ErrorList, FieldError, Path, Rendered};
use crate::k8s_openapi::api::core::v1::PodSpec;
use crate::names;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

pub(super) fn policy(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let policy = text(spec.dns_policy.as_ref());
    let supported = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    required_choice(errors, root.child("dnsPolicy"), policy, &supported);
}

pub(super) fn config(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let path = root.child("dnsConfig");
    let none = spec.dns_policy.as_deref() == Some("None");
    let Some(config) = &spec.dns_config else {
        if none {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(path, why));
        }
        return;
    };
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let at = path.child("nameservers");
    if none && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(at, why));
    }
    if servers.len() > MAX_NAMESERVERS {
        let why = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        errors.push(FieldError::invalid(at, Rendered::json(&servers), why));
    }
    for (i, server) in servers.iter().enumerate() {
        complain(errors, at.index(i), server, names::ip_address(server));
    }
    searches(errors, config.searches.as_deref().unwrap_or_default(), &path.child("searches"));
    let at = path.child("options");
    for (i, option) in config.options.iter().flatten().enumerate() {
        if text(option.name.as_ref()).is_empty() {
            errors.push(FieldError::required(at.index(i), "must not be empty"));
        }
    }
}

fn searches(errors: &mut ErrorList, searches: &[String], path: &Path<'_>) {
    if searches.len() > MAX_SEARCHES {
        let why = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.push(FieldError::invalid(path, Rendered::json(&searches), why));
    }
    let total = searches.join(" ").chars().count();
    if total > MAX_SEARCH_CHARS {
        let why = format!(
            "must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(path, Rendered::json(&searches), why));
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, s)| *s != ".") {
        let bare = search.strip_suffix('.').unwrap_or(search);
        complain(errors, path.index(i), bare, names::dns_search_domain(bare));
    }
}
