//! Which container of a pod a request means.

use klet_api::{Pod, PodSpec};
use klet_store::Store;

use crate::error::ApiError;
use crate::route::Target;

/// The pod that a subresource's path names.
pub(crate) fn pod(store: &Store, target: &Target) -> Result<Pod, ApiError> {
    use serde::Deserialize;
    let name = target.name.as_deref().unwrap_or_default();
    let key = target.resource.key(target.namespace.as_deref(), name);
    let missing = || klet_api::status_error::not_found(target.resource.named(), name);
    let object = store.get(&key).ok_or_else(missing)?;
    Pod::deserialize(&*object.value).map_err(ApiError::internal)
}

/// The container named, or the only one there is.
pub(crate) fn choose(pod: &Pod, wanted: Option<&str>) -> Result<String, ApiError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let apps: Vec<&str> = spec.containers.iter().map(|container| &*container.name).collect();
    let inits: Vec<&str> =
        spec.init_containers.iter().flatten().map(|container| &*container.name).collect();
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &*container.name);
    if let Some(wanted) = wanted {
        return if apps.iter().chain(&inits).copied().chain(ephemeral).any(|other| other == wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")))
        };
    }
    if let [only] = apps.as_slice() {
        return Ok((*only).to_owned());
    }
    let mut text = format!(
        "a container name must be specified for pod {name}, choose one of: [{}]",
        apps.join(" ")
    );
    if !inits.is_empty() {
        text += &format!(" or one of the init containers: [{}]", inits.join(" "));
    }
    Err(ApiError::bad_request(text))
}

#[cfg(test)]
mod tests {
    use klet_api::Pod;
    use serde_json::json;

    use super::choose;

    fn pod(containers: &[&str], inits: &[&str]) -> Pod {
        let named =
            |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
            "spec": { "containers": named(containers), "initContainers": named(inits) },
        }))
        .unwrap()
    }

    #[test]
    fn the_only_container_is_the_default() {
        assert_eq!(choose(&pod(&["a"], &["i"]), None).unwrap(), "a");
        assert_eq!(choose(&pod(&["a"], &["i"]), Some("i")).unwrap(), "i");
    }

    #[test]
    fn refusals_name_the_choice() {
        let error = |inits: &[&str], wanted| {
            choose(&pod(&["a", "b"], inits), wanted).unwrap_err().to_string()
        };
        assert_eq!(
            error(&[], None),
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        assert_eq!(
            error(&["i"], None),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(error(&[], Some("c")), "container c is not valid for pod p");
    }
}
