//! Resource requests and limits.

use std::collections::BTreeMap;

use super::complain;
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use crate::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use crate::names;
use crate::quantity::Quantity;

type ResourceList = BTreeMap<String, ApiQuantity>;

const HUGE_PAGES: &str = "hugepages-";
/// Un-prefixed names that mean something to Kubernetes, though not in a container.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "pods",
    "services",
    "secrets",
    "configmaps",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

fn is_container_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES)
}

/// Whether requests may be lower than limits: all of Kubernetes' own resources but huge pages.
fn allows_overcommit(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    native && !name.starts_with(HUGE_PAGES)
}

pub(super) fn check(errors: &mut ErrorList, resources: &ResourceRequirements, path: &Path<'_>) {
    let empty = ResourceList::new();
    let limits = resources.limits.as_ref().unwrap_or(&empty);
    let requests = resources.requests.as_ref().unwrap_or(&empty);
    let at = path.child("limits");
    for (name, quantity) in limits {
        container_resource_name(errors, name, &at.key(name));
        check_quantity(errors, name, quantity, &at.key(name));
    }
    let at = path.child("requests");
    for (name, quantity) in requests {
        container_resource_name(errors, name, &at.key(name));
        check_quantity(errors, name, quantity, &at.key(name));
        compare(errors, name, quantity, limits.get(name), path);
    }
    let mut named = limits.keys().chain(requests.keys());
    let huge = named.clone().any(|n| n.starts_with(HUGE_PAGES));
    if huge && !named.any(|n| n == "cpu" || n == "memory") {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn compare(
    errors: &mut ErrorList,
    name: &str,
    request: &ApiQuantity,
    limit: Option<&ApiQuantity>,
    path: &Path<'_>,
) {
    let Some(limit) = limit else {
        if !allows_overcommit(name) {
            let why = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(path.child("limits"), why));
        }
        return;
    };
    let (Ok(wanted), Ok(most)) = (Quantity::try_from(request), Quantity::try_from(limit)) else {
        return;
    };
    let at = path.child("requests");
    let value = wanted.canonical();
    if wanted != most && !allows_overcommit(name) {
        errors.push(FieldError::invalid(
            at,
            value,
            format!("must be equal to {name} limit of {most}"),
        ));
    } else if wanted > most {
        errors.push(FieldError::invalid(
            at,
            value,
            format!("must be less than or equal to {name} limit of {most}"),
        ));
    }
}

fn container_resource_name(errors: &mut ErrorList, name: &str, path: &Path<'_>) {
    complain(errors, *path, name, names::qualified_name(name));
    if !name.contains('/') {
        if !STANDARD.contains(&name) && !name.starts_with(HUGE_PAGES) {
            errors.push(FieldError::invalid(
                path,
                name,
                "must be a standard resource type or fully qualified",
            ));
        }
        if !is_container_resource(name) {
            errors.push(FieldError::invalid(
                path,
                name,
                "must be a standard resource for containers",
            ));
        }
    } else if !name.contains("kubernetes.io/") {
        let quota_name = format!("requests.{name}");
        if name.starts_with("requests.") || !names::qualified_name(&quota_name).is_empty() {
            errors.push(FieldError::invalid(
                path,
                name,
                "doesn't follow extended resource name standard",
            ));
        }
    }
}

/// Checks the amount of one resource.
pub(super) fn check_quantity(
    errors: &mut ErrorList,
    name: &str,
    quantity: &ApiQuantity,
    path: &Path<'_>,
) {
    let amount = match Quantity::try_from(quantity) {
        Ok(amount) => amount,
        Err(error) => {
            errors.push(FieldError::invalid(path, &quantity.0, error.to_string()));
            return;
        }
    };
    if amount.is_negative() {
        errors.push(FieldError::invalid(
            path,
            amount.canonical(),
            "must be greater than or equal to 0",
        ));
    }
    let extended = name.contains('/') && !name.contains("kubernetes.io/");
    if extended && !amount.is_whole() {
        errors.push(FieldError::invalid(path, amount.canonical(), "must be an integer"));
    }
    if let Some(page) = name.strip_prefix(HUGE_PAGES).and_then(|size| Quantity::parse(size).ok()) {
        let multiple = page.value() > 0 && amount.is_whole() && amount.value() % page.value() == 0;
        if !multiple {
            let why = format!("{amount} is not positive integer multiple of {name}");
            errors.push(FieldError::invalid(path, amount.canonical(), why));
        }
    }
}

pub(super) fn check_pod_level(
    errors: &mut ErrorList,
    resources: &ResourceRequirements,
    spec: &PodSpec,
    path: &Path<'_>,
) {
    if resources.claims.as_ref().is_some_and(|c| !c.is_empty()) {
        errors.push(FieldError::forbidden(
            path.child("claims"),
            "claims cannot be set for Resources at pod-level",
        ));
    }
    let lists = [("limits", &resources.limits), ("requests", &resources.requests)];
    for (field, list) in lists {
        let at = path.child(field);
        for (name, quantity) in list.iter().flatten() {
            if !matches!(name.as_str(), "cpu" | "memory") && !name.starts_with(HUGE_PAGES) {
                errors.push(FieldError::not_supported(
                    at.key(name),
                    name,
                    &["cpu", "hugepages-", "memory"],
                ));
            }
            check_quantity(errors, name, quantity, &at.key(name));
        }
    }
    let limits = resources.limits.as_ref();
    for (name, quantity) in resources.requests.iter().flatten() {
        compare(errors, name, quantity, limits.and_then(|l| l.get(name)), path);
    }
    pod_level_requests(errors, resources, spec, &path.child("requests"));
    pod_level_limits(errors, resources, spec);
}

fn pod_level_requests(
    errors: &mut ErrorList,
    resources: &ResourceRequirements,
    spec: &PodSpec,
    path: &Path<'_>,
) {
    for (name, quantity) in resources.requests.iter().flatten() {
        let Ok(own) = Quantity::try_from(quantity) else { continue };
        let total = aggregate_requests(spec, name);
        if own < total {
            let why =
                format!("must be greater than or equal to aggregate container requests of {total}");
            errors.push(FieldError::invalid(path.key(name), own.canonical(), why));
        }
    }
}

fn request_of(container: &Container, name: &str) -> Quantity {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    requests.and_then(|r| r.get(name)).and_then(|q| Quantity::try_from(q).ok()).unwrap_or_default()
}

/// What the containers ask for together: app containers and sidecars at once, or the neediest
/// moment of initialisation.
fn aggregate_requests(spec: &PodSpec, name: &str) -> Quantity {
    let mut sidecars = Quantity::default();
    let mut peak = Quantity::default();
    for container in spec.init_containers.iter().flatten() {
        let own = request_of(container, name);
        let mut moment = sidecars;
        moment.add(&own);
        peak = peak.max(moment);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = moment;
        }
    }
    let mut running = sidecars;
    for container in &spec.containers {
        running.add(&request_of(container, name));
    }
    running.max(peak)
}

fn pod_level_limits(errors: &mut ErrorList, resources: &ResourceRequirements, spec: &PodSpec) {
    let root = Path::root("spec");
    let Some(pod_limits) = &resources.limits else { return };
    let lists = [
        ("containers", spec.containers.as_slice()),
        ("initContainers", spec.init_containers.as_deref().unwrap_or_default()),
    ];
    for (field, containers) in lists {
        let path = root.child(field);
        for (i, container) in containers.iter().enumerate() {
            let at = path.index(i);
            let at = at.child("resources");
            let at = at.child("limits");
            let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
            for (name, quantity) in limits.into_iter().flatten() {
                let most = pod_limits.get(name).and_then(|q| Quantity::try_from(q).ok());
                let own = Quantity::try_from(quantity).ok();
                if let (Some(own), Some(most)) = (own, most)
                    && own > most
                {
                    let why = format!("must be less than or equal to pod limits of {most}");
                    errors.push(FieldError::invalid(at.key(name), own.canonical(), why));
                }
            }
        }
    }
}
