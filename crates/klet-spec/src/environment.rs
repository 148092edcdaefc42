//! The environment of a container (kubelet: `makeEnvironmentVariables`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use klet_api::k8s_openapi::api::core::v1::{
    ConfigMap, EnvFromSource, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector, Secret,
};
use klet_api::quantity::Quantity;
use klet_api::{Container, Pod};

use crate::ConfigError;

/// Where references lead.
pub trait Sources {
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap>;
    fn secret(&self, namespace: &str, name: &str) -> Option<Secret>;
}

/// What the downward API can tell beyond the object itself.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub pod_ips: Vec<IpAddr>,
    pub host_ips: Vec<IpAddr>,
    /// Node allocatable, by resource name: stands for limits that are not set.
    pub allocatable: BTreeMap<String, String>,
}

/// Variables by name; names are unique and their order carries no meaning, as with the kubelet.
pub type Environment = BTreeMap<String, String>;

/// The variables that the pod gives a container: `envFrom`, then `env` in order.
///
/// # Errors
/// `CreateContainerConfigError` texts for missing ConfigMaps, Secrets and keys.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &dyn Sources,
    facts: &Facts,
) -> Result<Environment, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut variables = Environment::new();
    for source in container.env_from.iter().flatten() {
        add_all(&mut variables, source, namespace, sources)?;
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => Some(expand(value, &variables)),
            (_, Some(from)) => resolve(from, pod, container, sources, facts)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

fn add_all(
    variables: &mut Environment,
    source: &EnvFromSource,
    namespace: &str,
    sources: &dyn Sources,
) -> Result<(), ConfigError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let mut add = |key: &str, value: String| variables.insert(format!("{prefix}{key}"), value);
    if let Some(reference) = &source.config_map_ref {
        match sources.config_map(namespace, &reference.name) {
            Some(map) => map.data.into_iter().flatten().for_each(|(key, value)| {
                add(&key, value);
            }),
            None if reference.optional == Some(true) => {}
            None => return Err(missing("configmap", &reference.name)),
        }
    }
    if let Some(reference) = &source.secret_ref {
        match sources.secret(namespace, &reference.name) {
            Some(secret) => secret.data.into_iter().flatten().for_each(|(key, value)| {
                add(&key, text(&value.0));
            }),
            None if reference.optional == Some(true) => {}
            None => return Err(missing("secret", &reference.name)),
        }
    }
    Ok(())
}

fn missing(kind: &str, name: &str) -> ConfigError {
    ConfigError::Config(format!("{kind} {name:?} not found"))
}

fn missing_key(key: &str, kind: &str, namespace: &str, name: &str) -> ConfigError {
    ConfigError::Config(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a `valueFrom`; `None` when an optional source is absent.
fn resolve(
    from: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    sources: &dyn Sources,
    facts: &Facts,
) -> Result<Option<String>, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    if let Some(field) = &from.field_ref {
        return field_value(field, pod, facts).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        return resource_value(resource, pod, container, facts).map(Some);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(map) = sources.config_map(namespace, &reference.name) else {
            return optional.then_some(None).ok_or_else(|| missing("configmap", &reference.name));
        };
        let value = map.data.and_then(|mut data| data.remove(&reference.key));
        return found(value, optional, || {
            missing_key(&reference.key, "ConfigMap", namespace, &reference.name)
        });
    }
    if let Some(reference) = &from.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(secret) = sources.secret(namespace, &reference.name) else {
            return optional.then_some(None).ok_or_else(|| missing("secret", &reference.name));
        };
        let value = secret.data.and_then(|mut data| data.remove(&reference.key));
        return found(value.map(|bytes| text(&bytes.0)), optional, || {
            missing_key(&reference.key, "Secret", namespace, &reference.name)
        });
    }
    Ok(Some(String::new()))
}

fn found(
    value: Option<String>,
    optional: bool,
    error: impl FnOnce() -> ConfigError,
) -> Result<Option<String>, ConfigError> {
    match value {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None => Err(error()),
    }
}

/// `fieldRef` in a variable (pod-level paths of the downward API).
///
/// # Errors
/// `CreateContainerConfigError` for a path that validation should have refused.
pub fn field_value(
    field: &ObjectFieldSelector,
    pod: &Pod,
    facts: &Facts,
) -> Result<String, ConfigError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let path = field.field_path.as_str();
    let joined = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let first = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string).unwrap_or_default();
    let value = match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default()
        }
        "status.podIP" => first(&facts.pod_ips),
        "status.podIPs" => joined(&facts.pod_ips),
        "status.hostIP" => first(&facts.host_ips),
        "status.hostIPs" => joined(&facts.host_ips),
        _ => subscript(path, "metadata.labels", meta.labels.as_ref())
            .or_else(|| subscript(path, "metadata.annotations", meta.annotations.as_ref()))
            .ok_or_else(|| ConfigError::Config(format!("unsupported fieldPath: {path}")))?,
    };
    Ok(value)
}

/// `prefix['key']` looked up in `map`; a key that is absent is the empty string.
fn subscript(path: &str, prefix: &str, map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
    Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// `resourceFieldRef`: the value divided by the divisor, rounded up.
///
/// # Errors
/// `CreateContainerConfigError` when the container or the resource is unknown.
pub fn resource_value(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    container: &Container,
    facts: &Facts,
) -> Result<String, ConfigError> {
    let target = match selector.container_name.as_deref() {
        Some(name) if !name.is_empty() && name != container.name => pod
            .spec
            .iter()
            .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
            .find(|candidate| candidate.name == name)
            .ok_or_else(|| ConfigError::Config(format!("container {name} not found")))?,
        _ => container,
    };
    let unknown =
        || ConfigError::Config(format!("unsupported container resource : {}", selector.resource));
    let (side, resource) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let resources = target.resources.as_ref();
    let listed = match side {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(unknown()),
    };
    let text = match listed.and_then(|list| list.get(resource)) {
        Some(quantity) => quantity.0.clone(),
        None if side == "limits" => {
            facts.allocatable.get(resource).cloned().unwrap_or_else(|| "0".to_owned())
        }
        None => "0".to_owned(),
    };
    let divisor = selector.divisor.as_ref().map_or("1", |divisor| divisor.0.as_str());
    divide(&text, if divisor == "0" { "1" } else { divisor }).ok_or_else(unknown)
}

/// `value / divisor` rounded up; thousandths matter for cpu only and are exact here.
fn divide(value: &str, divisor: &str) -> Option<String> {
    let value = Quantity::parse(value).ok()?.milli_value();
    let divisor = Quantity::parse(divisor).ok()?.milli_value();
    (divisor > 0).then(|| ((value + divisor - 1) / divisor).to_string())
}

/// Replaces `$(NAME)` by the variable's value; unknown names stay as written, `$$` is a literal `$`.
#[must_use]
pub fn expand(text: &str, variables: &Environment) -> String {
    expand_with(text, |name| variables.get(name).map(String::as_str))
}

/// What `subPathExpr` means: every variable in it must have a value.
///
/// # Errors
/// The names of those without one, or the path is absolute.
pub fn sub_path(expression: &str, variables: &Environment) -> Result<String, ConfigError> {
    let mut missing = BTreeSet::new();
    let path = expand_with(expression, |name| {
        let value = variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if value.is_none() {
            missing.insert(name.to_owned());
        }
        value
    });
    if !missing.is_empty() {
        let names: Vec<_> = missing.into_iter().collect();
        return Err(ConfigError::Config(format!("missing value for {}", names.join(", "))));
    }
    if path.starts_with('/') {
        let text = format!("error SubPath `{path}` must not be an absolute path");
        return Err(ConfigError::Config(text));
    }
    Ok(path)
}

fn expand_with<'a>(text: &str, mut value: impl FnMut(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|s| s.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[at..at + name.len() + 3]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_follows_kubernetes() {
        let variables: Environment =
            [("A", "1"), ("B", "$(A)")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (text, expected) in [
            ("x$(A)y", "x1y"),
            ("$(A)$(B)", "1$(A)"),
            ("$$(A)", "$(A)"),
            ("$(X)", "$(X)"),
            ("$x $", "$x $"),
            ("$(A", "$(A"),
            ("$$$(A)", "$1"),
            ("$()", "$()"),
            ("é$(A)é", "é1é"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn a_sub_path_needs_every_value() {
        let variables: Environment =
            [("A", "x"), ("E", ""), ("R", "/r")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(sub_path("e-$(A)/$$(B)", &variables), Ok("e-x/$(B)".to_owned()));
        let refused = |text: &str| sub_path(text, &variables).unwrap_err().to_string();
        assert_eq!(refused("$(Z)/$(E)/$(B)/$(Z)"), "missing value for B, E, Z");
        assert_eq!(refused("$(R)"), "error SubPath `/r` must not be an absolute path");
    }

    #[test]
    fn resources_are_divided_rounding_up() {
        for (value, divisor, expected) in [
            ("250m", "1", "1"),
            ("250m", "1m", "250"),
            ("64Mi", "1Mi", "64"),
            ("65M", "1Mi", "62"),
            ("0", "1", "0"),
        ] {
            assert_eq!(divide(value, divisor).as_deref(), Some(expected), "{value} / {divisor}");
        }
    }
}
