//! Which container of a pod a command means, by kubectl's rules.

use serde_json::Value;

use crate::context::name_of;
use crate::output;

/// The annotation by which a pod names its most interesting container.
const DEFAULT: &str = "kubectl.kubernetes.io/default-container";

/// Lists of containers in a pod's spec, with what is said behind their names.
const LISTS: [(&str, &str); 3] =
    [("containers", ""), ("ephemeralContainers", " (ephem)"), ("initContainers", " (init)")];

/// The names in one list of a pod's spec, such as `initContainers`.
pub(crate) fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let list = pod["spec"][list].as_array();
    list.into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
}

/// Every container of the pod, in the order they start: init, app, ephemeral.
pub(crate) fn all(pod: &Value) -> Vec<&str> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.into_iter().flat_map(|list| names(pod, list)).collect()
}

/// Whether the pod has a container of this name.
pub(crate) fn has(pod: &Value, name: &str) -> bool {
    all(pod).contains(&name)
}

/// The container to take when none is named, and what to tell the user about the choice.
fn default(pod: &Value) -> (Option<&str>, Option<String>) {
    let chosen = pod["metadata"]["annotations"][DEFAULT].as_str().filter(|name| !name.is_empty());
    match chosen {
        Some(name) if has(pod, name) => return (Some(name), None),
        Some(name) => {
            let note =
                format!("Default container name \"{name}\" not found in pod {}", name_of(pod));
            return (names(pod, "containers").first().copied(), Some(note));
        }
        None => {}
    }
    let first = names(pod, "containers").first().copied();
    let label = |(list, suffix): &(&str, &str)| -> Vec<String> {
        names(pod, list).into_iter().map(|name| format!("{name}{suffix}")).collect()
    };
    let all: Vec<String> = LISTS.iter().flat_map(label).collect();
    let note = first.filter(|_| all.len() > 1);
    let note =
        note.map(|first| format!("Defaulted container \"{first}\" out of: {}", all.join(", ")));
    (first, note)
}

/// The container to take when none is named. Says on standard error which one it is where there was
/// a choice, unless `quiet`.
pub(crate) fn choose(pod: &Value, quiet: bool) -> Option<&str> {
    let (name, note) = default(pod);
    if let Some(note) = note.filter(|_| !quiet) {
        output::note(&note);
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "dbg"}]}})
    }

    #[test]
    fn the_first_container_is_the_default_and_the_choice_is_told() {
        let note = "Defaulted container \"a\" out of: a, b, dbg (ephem), i (init)";
        assert_eq!(default(&pod()), (Some("a"), Some(note.to_owned())));
        let single = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(default(&single), (Some("a"), None));
        assert_eq!(all(&pod()), ["i", "a", "b", "dbg"]);
    }

    #[test]
    fn an_annotation_names_another_default() {
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({DEFAULT: "b"});
        assert_eq!(default(&pod), (Some("b"), None));
        pod["metadata"]["annotations"] = json!({DEFAULT: "x"});
        let note = "Default container name \"x\" not found in pod p";
        assert_eq!(default(&pod), (Some("a"), Some(note.to_owned())));
    }
}
