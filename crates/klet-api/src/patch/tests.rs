//! Tables after kubectl's documented cases, and the property that ties diff to apply.

use serde_json::{Value, json};

use super::{PatchError, merge_patch, strategic_merge, three_way, two_way};

#[track_caller]
fn check_apply(original: Value, patch: Value, want: Value) {
    assert_eq!(strategic_merge(&original, &patch, "Pod"), Ok(want));
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn a_merge_patch_follows_the_examples_of_rfc_7386() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (original, patch, want) in cases {
        assert_eq!(merge_patch(&original, &patch), want, "{original} + {patch}");
    }
}

#[test]
fn containers_merge_by_name_and_new_ones_are_added() {
    check_apply(
        pod(json!([{"name": "a", "image": "x", "args": ["1"]}])),
        pod(json!([{"name": "b", "image": "y"}])),
        pod(json!([{"name": "b", "image": "y"}, {"name": "a", "image": "x", "args": ["1"]}])),
    );
    check_apply(
        pod(json!([{"name": "a", "image": "x", "args": ["1"]}, {"name": "b"}])),
        pod(json!([{"name": "a", "image": "y"}])),
        pod(json!([{"name": "a", "image": "y", "args": ["1"]}, {"name": "b"}])),
    );
}

#[test]
fn each_list_merges_by_its_own_key() {
    check_apply(
        pod(json!([{"name": "a",
            "env": [{"name": "K", "value": "1"}],
            "ports": [{"containerPort": 80, "name": "http"}],
            "volumeMounts": [{"mountPath": "/a", "name": "v"}],
            "envFrom": [{"prefix": "p"}],
            "command": ["x", "y"]}])),
        pod(json!([{"name": "a",
            "env": [{"name": "K", "value": "2"}],
            "ports": [{"containerPort": 80, "protocol": "UDP"}],
            "volumeMounts": [{"mountPath": "/a", "readOnly": true}],
            "envFrom": [{"prefix": "q"}],
            "command": ["z"]}])),
        pod(json!([{"name": "a",
            "env": [{"name": "K", "value": "2"}],
            "ports": [{"containerPort": 80, "name": "http", "protocol": "UDP"}],
            "volumeMounts": [{"mountPath": "/a", "name": "v", "readOnly": true}],
            "envFrom": [{"prefix": "q"}],
            "command": ["z"]}])),
    );
}

#[test]
fn tolerations_are_atomic_and_the_other_pod_lists_are_keyed() {
    check_apply(
        json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "n"}], "finalizers": ["a"]},
            "spec": {"tolerations": [{"key": "k"}], "imagePullSecrets": [{"name": "s"}],
                "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}]},
            "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "r"}]}}),
        json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "m"}], "finalizers": ["b"]},
            "spec": {"tolerations": [{"key": "l"}], "imagePullSecrets": [{"name": "t"}],
                "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "m"}],
                "finalizers": ["b", "a"]},
            "spec": {"tolerations": [{"key": "l"}],
                "imagePullSecrets": [{"name": "t"}, {"name": "s"}],
                "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "r"}]}}),
    );
}

#[test]
fn patch_directives_delete_and_replace() {
    check_apply(
        pod(json!([{"name": "a"}, {"name": "b"}])),
        pod(json!([{"name": "a", "$patch": "delete"}])),
        pod(json!([{"name": "b"}])),
    );
    check_apply(
        pod(json!([{"name": "a"}, {"name": "b"}])),
        pod(json!([{"name": "c"}, {"$patch": "replace"}])),
        pod(json!([{"name": "c"}])),
    );
    check_apply(
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        json!({"metadata": {"labels": {"c": "3", "$patch": "replace"}}}),
        json!({"metadata": {"labels": {"c": "3"}}}),
    );
    check_apply(
        json!({"metadata": {"labels": {"a": "1"}}}),
        json!({"metadata": {"labels": {"$patch": "delete"}}}),
        json!({"metadata": {"labels": {}}}),
    );
}

#[test]
fn no_directive_and_no_null_survives_where_there_was_nothing() {
    check_apply(
        json!({}),
        json!({"metadata": {"labels": {"a": null, "b": "1"}, "$patch": "replace"},
            "spec": {"volumes": [{"name": "v", "emptyDir": {}, "$retainKeys": ["name", "emptyDir"]}],
                "$setElementOrder/volumes": [{"name": "v"}],
                "containers": [{"name": "x", "$patch": "delete"}]}}),
        json!({"metadata": {"labels": {"b": "1"}},
            "spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": []}}),
    );
}

#[test]
fn set_element_order_orders_and_leaves_the_servers_own_in_place() {
    check_apply(
        pod(json!([{"name": "a"}, {"name": "sidecar"}, {"name": "b"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c"}]}}),
        pod(json!([{"name": "sidecar"}, {"name": "b"}, {"name": "c"}, {"name": "a"}])),
    );
    check_apply(
        pod(json!([{"name": "a"}, {"name": "b"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
        pod(json!([{"name": "b"}, {"name": "a"}])),
    );
}

#[test]
fn primitive_lists_merge_and_delete() {
    check_apply(
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"],
            "$setElementOrder/finalizers": ["a", "d", "c"]}}),
        json!({"metadata": {"finalizers": ["a", "d", "c"]}}),
    );
}

#[test]
fn retain_keys_clears_the_other_members_of_a_union() {
    check_apply(
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [
            {"name": "v", "hostPath": {"path": "/x"}, "$retainKeys": ["name", "hostPath"]}]}}),
        json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
    );
}

#[test]
fn malformed_patches_are_refused() {
    let original = pod(json!([{"name": "a"}]));
    let refused = |patch: Value| strategic_merge(&original, &patch, "Pod").unwrap_err();
    assert_eq!(refused(json!([])), PatchError::NotAnObject);
    assert_eq!(
        refused(pod(json!([{"image": "x"}]))).to_string(),
        r#"map: {"image":"x"} does not contain declared merge key: name"#
    );
    assert_eq!(refused(json!({"$patch": "x"})), PatchError::UnknownDirective("x".to_owned()));
    assert_eq!(
        refused(json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}],
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}]}}))
        .to_string(),
        "invalid patch format of $setElementOrder/ in containers: \
         the patch's elements are not in that order, or not in that list"
    );
    assert!(matches!(
        refused(json!({"spec": {"volumes": [{"name": "v", "nfs": {}, "$retainKeys": ["name"]}]}})),
        PatchError::BadDirective { directive: "$retainKeys", .. }
    ));
}

#[test]
fn an_apply_of_the_same_manifest_is_empty() {
    let manifest = pod(json!([{"name": "a", "image": "x"}]));
    let live = json!({"spec": {"containers": [{"name": "a", "image": "x", "tty": false}],
        "nodeName": "n"}, "status": {"phase": "Running"}});
    assert_eq!(three_way(&manifest, &manifest, &live, "Pod"), Ok(json!({})));
}

#[test]
fn an_apply_changes_what_the_manifest_says_and_deletes_what_it_said_before() {
    let last = json!({"metadata": {"labels": {"old": "1", "keep": "1"}},
        "spec": {"containers": [{"name": "a", "image": "x", "command": ["c"]}, {"name": "b"}]}});
    let next = json!({"metadata": {"labels": {"keep": "2"}},
        "spec": {"containers": [{"name": "a", "image": "y"}]}});
    let live = json!({"metadata": {"labels": {"old": "1", "keep": "1", "theirs": "1"}},
        "spec": {"containers": [{"name": "a", "image": "x", "command": ["c"], "tty": false},
            {"name": "b"}, {"name": "injected"}]}});
    let patch = three_way(&last, &next, &live, "Pod").unwrap();
    assert_eq!(
        patch,
        json!({"metadata": {"labels": {"old": null, "keep": "2"}},
            "spec": {"$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "image": "y", "command": null},
                    {"name": "b", "$patch": "delete"}]}})
    );
    assert_eq!(
        strategic_merge(&live, &patch, "Pod").unwrap(),
        json!({"metadata": {"labels": {"keep": "2", "theirs": "1"}},
            "spec": {"containers": [{"name": "a", "image": "y", "tty": false},
                {"name": "injected"}]}})
    );
}

#[test]
fn a_changed_volume_source_carries_retain_keys() {
    let volumes = |source: Value| json!({"spec": {"volumes": [source]}});
    let last = volumes(json!({"name": "v", "emptyDir": {}}));
    let next = volumes(json!({"name": "v", "configMap": {"name": "c"}}));
    let patch = three_way(&last, &next, &last, "Pod").unwrap();
    assert_eq!(patch["spec"]["volumes"][0]["$retainKeys"], json!(["configMap", "name"]));
    assert_eq!(strategic_merge(&last, &patch, "Pod").unwrap(), next);
}

#[test]
fn a_two_way_patch_turns_the_one_into_the_other() {
    let lists = [
        json!([]),
        json!([{"name": "a"}]),
        json!([{"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}]}, {"name": "b"}]),
        json!([{"name": "b", "ports": [{"containerPort": 1}, {"containerPort": 2}]},
            {"name": "a", "image": "y", "env": [{"name": "L"}, {"name": "K", "value": "2"}]}]),
        json!([{"name": "c", "command": ["q"]}, {"name": "b"}, {"name": "d"}]),
    ];
    for old in &lists {
        for new in &lists {
            let (old, new) = (pod(old.clone()), pod(new.clone()));
            let patch = two_way(&old, &new, "Pod").unwrap();
            let got = strategic_merge(&old, &patch, "Pod");
            assert_eq!(got, Ok(new.clone()), "{old} -> {new} by {patch}");
            assert_eq!(patch == json!({}), old == new, "{patch}");
        }
    }
}

#[test]
fn a_template_inside_a_workload_merges_like_a_pod() {
    let template = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}});
    let live = json!({"spec": {"replicas": 2, "template": {"spec": {
        "containers": [{"name": "a", "image": "x", "tty": true}]}}}});
    let merged = strategic_merge(&live, &template("y"), "Deployment").unwrap();
    assert_eq!(
        merged["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "image": "y", "tty": true}])
    );
    assert_eq!(merged["spec"]["replicas"], 2);
}
