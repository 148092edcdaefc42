//! What decides where a pod may run: tolerations and topology spread.

use super::{affinity, choice, complain, text};
use crate::field::{ErrorList, FieldError, Path, Rendered};
use crate::k8s_openapi::api::core::v1::{PodSpec, Toleration, TopologySpreadConstraint};
use crate::names;

pub(super) fn affinity_of(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    if let Some(value) = &spec.affinity {
        affinity::check(errors, value, &root.child("affinity"));
    }
}

pub(super) fn tolerations(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let path = root.child("tolerations");
    for (i, item) in spec.tolerations.iter().flatten().enumerate() {
        toleration(errors, item, &path.index(i));
    }
}

fn toleration(errors: &mut ErrorList, item: &Toleration, at: &Path<'_>) {
    let key = text(item.key.as_ref());
    let operator = text(item.operator.as_ref());
    let effect = text(item.effect.as_ref());
    let value = text(item.value.as_ref());
    let operator_path = at.child("operator");
    if !key.is_empty() {
        complain(errors, at.child("key"), key, names::qualified_name(key));
    } else if operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(operator_path, operator, why));
    }
    if item.toleration_seconds.is_some() && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(at.child("effect"), effect, why));
    }
    match operator {
        "Equal" | "" => {
            let complaints = names::label_value(value);
            if !complaints.is_empty() {
                errors.push(FieldError::invalid(operator_path, value, complaints.join(";")));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => {
            let why = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(operator_path, Rendered::json(item), why));
        }
        other => errors.push(FieldError::not_supported(operator_path, other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() {
        choice(
            errors,
            at.child("effect"),
            effect,
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        );
    }
}

pub(super) fn topology(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let path = root.child("topologySpreadConstraints");
    for (i, item) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        constraint(errors, item, &path.index(i));
    }
}

fn constraint(errors: &mut ErrorList, item: &TopologySpreadConstraint, at: &Path<'_>) {
    if item.max_skew <= 0 {
        errors.push(FieldError::invalid(
            at.child("maxSkew"),
            item.max_skew,
            "must be greater than zero",
        ));
    }
    let key = at.child("topologyKey");
    if item.topology_key.is_empty() {
        errors.push(FieldError::required(key, "can not be empty"));
    } else {
        complain(errors, key, &item.topology_key, names::qualified_name(&item.topology_key));
    }
    let when = at.child("whenUnsatisfiable");
    choice(errors, when, &item.when_unsatisfiable, &["DoNotSchedule", "ScheduleAnyway"]);
    if let Some(domains) = item.min_domains {
        let path = at.child("minDomains");
        if domains <= 0 {
            errors.push(FieldError::invalid(path, domains, "must be greater than zero"));
        }
        if item.when_unsatisfiable != "DoNotSchedule" {
            let why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule";
            errors.push(FieldError::invalid(path, domains, why));
        }
    }
    let policies = [
        ("nodeAffinityPolicy", &item.node_affinity_policy),
        ("nodeTaintsPolicy", &item.node_taints_policy),
    ];
    for (field, policy) in policies {
        if let Some(policy) = policy {
            choice(errors, at.child(field), policy, &["Honor", "Ignore"]);
        }
    }
}
