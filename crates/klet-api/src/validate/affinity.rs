//! Node and pod affinity.

use super::complain;
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm,
    WeightedPodAffinityTerm,
};
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn check(errors: &mut ErrorList, affinity: &Affinity, path: &Path<'_>) {
    if let Some(node) = &affinity.node_affinity {
        node_affinity(errors, node, &path.child("nodeAffinity"));
    }
    if let Some(pod) = &affinity.pod_affinity {
        let at = path.child("podAffinity");
        pod_terms(errors, &pod.required_during_scheduling_ignored_during_execution, &at);
        weighted_terms(errors, &pod.preferred_during_scheduling_ignored_during_execution, &at);
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let at = path.child("podAntiAffinity");
        pod_terms(errors, &pod.required_during_scheduling_ignored_during_execution, &at);
        weighted_terms(errors, &pod.preferred_during_scheduling_ignored_during_execution, &at);
    }
}

fn node_affinity(errors: &mut ErrorList, affinity: &NodeAffinity, path: &Path<'_>) {
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        let required = path.child(REQUIRED);
        let at = required.child("nodeSelectorTerms");
        if selector.node_selector_terms.is_empty() {
            errors.push(FieldError::required(at, "must have at least one node selector term"));
        }
        for (i, term) in selector.node_selector_terms.iter().enumerate() {
            node_term(errors, term, &at.index(i));
        }
    }
    let preferred = path.child(PREFERRED);
    let terms = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (i, term) in terms.enumerate() {
        let at = preferred.index(i);
        weight(errors, term.weight, &at);
        node_term(errors, &term.preference, &at.child("preference"));
    }
}

fn weight(errors: &mut ErrorList, weight: i32, at: &Path<'_>) {
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(at.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn node_term(errors: &mut ErrorList, term: &NodeSelectorTerm, path: &Path<'_>) {
    let expressions = path.child("matchExpressions");
    for (i, item) in term.match_expressions.iter().flatten().enumerate() {
        expression(errors, item, &expressions.index(i));
    }
    let fields = path.child("matchFields");
    for (i, item) in term.match_fields.iter().flatten().enumerate() {
        field_expression(errors, item, &fields.index(i));
    }
}

fn expression(errors: &mut ErrorList, item: &NodeSelectorRequirement, at: &Path<'_>) {
    let count = item.values.as_ref().map_or(0, Vec::len);
    let values = at.child("values");
    match item.operator.as_str() {
        "In" | "NotIn" if count == 0 => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(values, why));
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(values, why));
        }
        "Gt" | "Lt" if count != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(values, why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::invalid(
            at.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    complain(errors, at.child("key"), &item.key, names::qualified_name(&item.key));
}

fn field_expression(errors: &mut ErrorList, item: &NodeSelectorRequirement, at: &Path<'_>) {
    if !matches!(item.operator.as_str(), "In" | "NotIn") {
        errors.push(FieldError::invalid(
            at.child("operator"),
            &item.operator,
            "not a valid selector operator",
        ));
    } else if item.values.as_ref().map_or(0, Vec::len) != 1 {
        let why =
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.push(FieldError::required(at.child("values"), why));
    }
    if item.key != "metadata.name" {
        errors.push(FieldError::invalid(
            at.child("key"),
            &item.key,
            "not a valid field selector key",
        ));
    }
}

fn pod_terms(errors: &mut ErrorList, terms: &Option<Vec<PodAffinityTerm>>, path: &Path<'_>) {
    let required = path.child(REQUIRED);
    for (i, term) in terms.iter().flatten().enumerate() {
        pod_term(errors, term, &required.index(i));
    }
}

fn weighted_terms(
    errors: &mut ErrorList,
    terms: &Option<Vec<WeightedPodAffinityTerm>>,
    path: &Path<'_>,
) {
    let preferred = path.child(PREFERRED);
    for (i, term) in terms.iter().flatten().enumerate() {
        let at = preferred.index(i);
        weight(errors, term.weight, &at);
        pod_term(errors, &term.pod_affinity_term, &at.child("podAffinityTerm"));
    }
}

fn pod_term(errors: &mut ErrorList, term: &PodAffinityTerm, at: &Path<'_>) {
    let namespaces = at.child("namespaces");
    for namespace in term.namespaces.iter().flatten() {
        complain(errors, namespaces, namespace, names::dns_label(namespace));
    }
    let key = at.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(key, "can not be empty"));
    } else {
        complain(errors, key, &term.topology_key, names::qualified_name(&term.topology_key));
    }
}
