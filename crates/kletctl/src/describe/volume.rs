//! The volumes of a pod.

use serde_json::Value;

use super::fields::{flag, list, number, or_none, text};
use super::sheet::Sheet;

pub(super) fn write(sheet: &mut Sheet, volumes: &[Value]) {
    if volumes.is_empty() {
        return sheet.line(0, "Volumes:\t<none>");
    }
    sheet.line(0, "Volumes:");
    for volume in volumes {
        sheet.line(1, &format!("{}:", text(volume, "/name")));
        one(sheet, volume);
    }
}

fn one(sheet: &mut Sheet, volume: &Value) {
    if let Some(source) = volume.get("hostPath") {
        sheet.field(2, "Type", "HostPath (bare host directory volume)");
        sheet.field(2, "Path", text(source, "/path"));
        let kind = source.get("type").and_then(Value::as_str);
        sheet.field(2, "HostPathType", kind.unwrap_or("<none>"));
    } else if let Some(source) = volume.get("emptyDir") {
        let kind = "EmptyDir (a temporary directory that shares a pod's lifetime)";
        sheet.field(2, "Type", kind);
        sheet.field(2, "Medium", text(source, "/medium"));
        let limit = text(source, "/sizeLimit");
        sheet.field(2, "SizeLimit", if limit.is_empty() { "<unset>" } else { limit });
    } else if let Some(source) = volume.get("secret") {
        sheet.field(2, "Type", "Secret (a volume populated by a Secret)");
        sheet.field(2, "SecretName", text(source, "/secretName"));
        sheet.field(2, "Optional", flag(source, "/optional"));
    } else if let Some(source) = volume.get("configMap") {
        sheet.field(2, "Type", "ConfigMap (a volume populated by a ConfigMap)");
        sheet.field(2, "Name", text(source, "/name"));
        sheet.field(2, "Optional", flag(source, "/optional"));
    } else if let Some(source) = volume.get("projected") {
        projected(sheet, source);
    } else if let Some(source) = volume.get("downwardAPI") {
        sheet.field(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
        sheet.line(2, "Items:");
        for item in list(source, "/items") {
            let from = match text(item, "/fieldRef/fieldPath") {
                "" => text(item, "/resourceFieldRef/resource"),
                path => path,
            };
            sheet.line(3, &format!("{from} -> {}", text(item, "/path")));
        }
    } else if let Some(source) = volume.get("image") {
        sheet.field(2, "Type", "Image (a container image or OCI artifact)");
        sheet.field(2, "Reference", text(source, "/reference"));
        sheet.field(2, "PullPolicy", or_none(text(source, "/pullPolicy")));
    } else {
        sheet.line(1, "<unknown>");
    }
}

fn projected(sheet: &mut Sheet, source: &Value) {
    let kind = "Projected (a volume that contains injected data from multiple sources)";
    sheet.field(2, "Type", kind);
    for source in list(source, "/sources") {
        if let Some(secret) = source.get("secret") {
            sheet.field(2, "SecretName", text(secret, "/name"));
            sheet.field(2, "Optional", flag(secret, "/optional"));
        } else if source.get("downwardAPI").is_some() {
            sheet.field(2, "DownwardAPI", true);
        } else if let Some(map) = source.get("configMap") {
            sheet.field(2, "ConfigMapName", text(map, "/name"));
            sheet.field(2, "Optional", flag(map, "/optional"));
        } else if let Some(token) = source.get("serviceAccountToken") {
            sheet.field(2, "TokenExpirationSeconds", number(token, "/expirationSeconds"));
        }
    }
}
