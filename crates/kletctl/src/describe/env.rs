//! A container's environment, with where each value comes from.

use klet_api::quantity::Quantity;
use serde_json::Value;

use super::fields::{flag, list, text};
use super::sheet::Sheet;

pub(super) fn write(sheet: &mut Sheet, pod: &Value, container: &Value) {
    from(sheet, container);
    let env = list(container, "/env");
    sheet.line(2, if env.is_empty() { "Environment:\t<none>" } else { "Environment:" });
    for variable in env {
        let name = text(variable, "/name");
        match variable.get("valueFrom").filter(|source| source.is_object()) {
            Some(source) => sheet.field(3, name, sourced(pod, container, source)),
            None => {
                let mut head = format!("{name}:");
                for line in text(variable, "/value").split('\n') {
                    sheet.line(3, &format!("{head}\t{line}"));
                    head.clear();
                }
            }
        }
    }
}

/// Whole ConfigMaps and Secrets.
fn from(sheet: &mut Sheet, container: &Value) {
    let sources = list(container, "/envFrom");
    if sources.is_empty() {
        return;
    }
    sheet.line(2, "Environment Variables from:");
    for source in sources {
        let (kind, reference) = match source.get("secretRef") {
            Some(secret) => ("Secret", secret),
            None => ("ConfigMap", &source["configMapRef"]),
        };
        let prefix = match text(source, "/prefix") {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        let (name, optional) = (text(reference, "/name"), flag(reference, "/optional"));
        sheet.line(3, &format!("{name}\t{kind}{prefix}\tOptional: {optional}"));
    }
}

fn sourced(pod: &Value, container: &Value, source: &Value) -> String {
    if let Some(field) = source.get("fieldRef") {
        let path = text(field, "/fieldPath");
        let version = match text(field, "/apiVersion") {
            "" => "v1",
            version => version,
        };
        return format!("{} ({version}:{path})", pod_field(pod, path));
    }
    if let Some(resource) = source.get("resourceFieldRef") {
        let name = text(resource, "/resource");
        let value = amount(container, name, text(resource, "/divisor"));
        let whole_node = value == "0" && ["limits.cpu", "limits.memory"].contains(&name);
        let value = if whole_node { "node allocatable" } else { &value };
        return format!("{value} ({name})");
    }
    if let Some(key) = source.get("secretKeyRef") {
        return format!(
            "<set to the key '{}' in secret '{}'>\tOptional: {}",
            text(key, "/key"),
            text(key, "/name"),
            flag(key, "/optional")
        );
    }
    let key = &source["configMapKeyRef"];
    format!(
        "<set to the key '{}' of config map '{}'>\tOptional: {}",
        text(key, "/key"),
        text(key, "/name"),
        flag(key, "/optional")
    )
}

/// The fields that kubectl looks up; of others it shows only the path.
fn pod_field<'a>(pod: &'a Value, path: &str) -> &'a str {
    match path {
        "metadata.name" => text(pod, "/metadata/name"),
        "metadata.namespace" => text(pod, "/metadata/namespace"),
        "metadata.uid" => text(pod, "/metadata/uid"),
        _ => "",
    }
}

/// A resource of this container in units of the divisor, rounded up.
fn amount(container: &Value, resource: &str, divisor: &str) -> String {
    let given = resource.split_once('.').and_then(|(list, name)| {
        let amount = container.pointer(&format!("/resources/{list}/{name}"))?.as_str()?;
        Quantity::parse(amount).ok()
    });
    let Some(given) = given else { return "0".to_owned() };
    let divisor = Quantity::parse(divisor).ok().filter(|divisor| !divisor.is_zero());
    let divisor = divisor.unwrap_or_else(|| Quantity::from_units(1));
    let (given, divisor) = match resource.ends_with(".cpu") {
        true => (given.milli_value(), divisor.milli_value()),
        false => (given.value(), divisor.value()),
    };
    let divisor = divisor.max(1);
    ((given + divisor - 1) / divisor).to_string()
}
