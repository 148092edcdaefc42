//! The command line against a real daemon: objects and manifests.

use std::fs;

use klet_e2e::{Session, World};
use serde_json::{Value, json};

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: sleeper
  labels: {app: demo}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox
    command: [sleep, '1000']
";

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `kletctl`, which must fail with code 1, and gives what it said.
fn refused(world: &World, args: &[&str]) -> anyhow::Result<String> {
    let output = world.kletctl(args)?;
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    Ok(stderr(&output))
}

#[test]
fn objects_are_applied_shown_changed_and_deleted() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let file = world.path("pod.yaml");
    fs::write(&file, POD)?;
    let file = file.display().to_string();
    let run = |args: &[&str]| world.kletctl_ok(args);

    assert_eq!(
        run(&["apply", "-f", &file, "--dry-run=server"])?,
        "pod/sleeper created (server dry run)\n"
    );
    assert_eq!(run(&["apply", "-f", &file])?, "pod/sleeper created\n");
    assert_eq!(run(&["apply", "-f", &file])?, "pod/sleeper unchanged\n");
    fs::write(&file, POD.replace("app: demo", "app: other"))?;
    assert_eq!(run(&["apply", "-f", &file])?, "pod/sleeper configured\n");
    assert_eq!(
        refused(&world, &["create", "-f", &file])?,
        format!(
            "Error from server (AlreadyExists): error when creating \"{file}\": pods \"sleeper\" already exists\n"
        )
    );
    assert_eq!(
        run(&["wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s"])?,
        "pod/sleeper condition met\n"
    );

    shows(&world)?;
    changes(&world)?;
    assert_eq!(run(&["delete", "-f", &file])?, "pod \"sleeper\" deleted from default namespace\n");
    assert_eq!(
        refused(&world, &["delete", "-f", &file])?,
        format!(
            "Error from server (NotFound): error when deleting \"{file}\": pods \"sleeper\" not found\n"
        )
    );
    assert_eq!(
        refused(&world, &["get", "pod", "sleeper"])?,
        "Error from server (NotFound): pods \"sleeper\" not found\n"
    );
    let empty = world.kletctl(&["get", "pods"])?;
    assert!(empty.status.success() && empty.stdout.is_empty());
    assert_eq!(stderr(&empty), "No resources found in default namespace.\n");
    world.end()
}

/// The pod in every form of `get`.
fn shows(world: &World) -> anyhow::Result<()> {
    let run = |args: &[&str]| world.kletctl_ok(args);
    let table = run(&["get", "pods", "-A"])?;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next(), Some(vec!["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]));
    let row = lines.next().unwrap_or_default();
    assert_eq!(row[..5], ["default", "sleeper", "1/1", "Running", "0"], "{table}");
    let wide = run(&["get", "po", "sleeper", "-o", "wide"])?;
    assert!(wide.contains("test-node") && wide.contains("NOMINATED NODE"), "{wide}");
    let whole: Value = serde_json::from_str(&run(&["get", "pod", "sleeper", "-o", "json"])?)?;
    assert_eq!((&whole["kind"], &whole["status"]["phase"]), (&json!("Pod"), &json!("Running")));
    let yaml = run(&["get", "pod/sleeper", "-o", "yaml"])?;
    assert!(yaml.starts_with("apiVersion: v1\nkind: Pod\n"), "{yaml}");
    assert_eq!(run(&["get", "all", "-l", "app=other", "-o", "name"])?, "pod/sleeper\n");
    assert_eq!(run(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"])?, "sleeper");
    assert_eq!(
        run(&[
            "get",
            "pods",
            "-o",
            "custom-columns=NAME:.metadata.name,IMAGE:spec.containers[*].image"
        ])?,
        "NAME      IMAGE\nsleeper   busybox\n"
    );
    let both = run(&["get", "pods,namespaces", "--no-headers"])?;
    assert!(both.contains("pod/sleeper") && both.contains("namespace/default"), "{both}");
    Ok(())
}

/// The pod labelled, annotated, patched and edited.
fn changes(world: &World) -> anyhow::Result<()> {
    let run = |args: &[&str]| world.kletctl_ok(args);
    assert_eq!(run(&["label", "pod", "sleeper", "tier=web"])?, "pod/sleeper labeled\n");
    assert_eq!(
        refused(world, &["label", "pod", "sleeper", "tier=db"])?,
        "error: 'tier' already has a value (web), and --overwrite is false\n"
    );
    assert_eq!(run(&["label", "pod", "sleeper", "tier-"])?, "pod/sleeper unlabeled\n");
    assert_eq!(run(&["annotate", "pod", "sleeper", "note=hello"])?, "pod/sleeper annotated\n");
    let patch = "metadata: {labels: {from: patch}}";
    assert_eq!(run(&["patch", "pod", "sleeper", "-p", patch])?, "pod/sleeper patched\n");
    assert_eq!(
        run(&["patch", "pod", "sleeper", "-p", patch])?,
        "pod/sleeper patched (no change)\n"
    );
    let operations = r#"[{"op": "remove", "path": "/metadata/labels/from"}]"#;
    assert_eq!(
        run(&["patch", "pod", "sleeper", "--type=json", "-p", operations])?,
        "pod/sleeper patched\n"
    );
    let mut edit = world.kletctl_command(&["edit", "pod", "sleeper"]);
    let edited = edit.env("EDITOR", "sed -i 's/note: hello/note: edited/'").output()?;
    assert_eq!(String::from_utf8_lossy(&edited.stdout), "pod/sleeper edited\n", "{edited:?}");
    let note = "jsonpath={.metadata.annotations.note}";
    assert_eq!(run(&["get", "pod", "sleeper", "-o", note])?, "edited");
    let cancelled = edit.env("EDITOR", "true").output()?;
    assert_eq!(stderr(&cancelled), "Edit cancelled, no changes made.\n");
    // A person gets the text back with what is wrong, and gives up by saving it again.
    edit.env("EDITOR", "sed -i 's/^kind:/kind/'").env("TMPDIR", world.path(""));
    let mut session = Session::start(&edit, (80, 24))?;
    session.expect("error: EDIT:2:")?;
    session.expect("Edit cancelled, no valid changes were saved.")?;
    assert_eq!(session.end()?, 1);
    Ok(())
}

#[test]
fn small_objects_are_made_from_flags() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let run = |args: &[&str]| world.kletctl_ok(args);
    assert_eq!(run(&["create", "namespace", "team"])?, "namespace/team created\n");
    assert_eq!(
        run(&["create", "configmap", "settings", "--from-literal=a=1", "-n", "team"])?,
        "configmap/settings created\n"
    );
    assert_eq!(
        refused(&world, &["create", "cm", "settings", "-n", "team"])?,
        "error: failed to create configmap: configmaps \"settings\" already exists\n"
    );
    assert_eq!(run(&["get", "cm", "settings", "-n", "team", "-o", "jsonpath={.data.a}"])?, "1");
    let secret = run(&[
        "create",
        "secret",
        "generic",
        "key",
        "--from-literal=p=x",
        "--dry-run=client",
        "-o",
        "yaml",
    ])?;
    assert!(secret.contains("p: eA==") && secret.contains("type: Opaque"), "{secret}");
    assert_eq!(
        run(&["delete", "configmap", "--all", "-n", "team"])?.lines().last(),
        Some("configmap \"settings\" deleted from team namespace")
    );
    assert_eq!(
        run(&["delete", "ns", "team", "--cascade=foreground"])?,
        "namespace \"team\" deleted\n"
    );

    let done = world.kletctl(&[
        "run",
        "once",
        "--image=busybox",
        "--restart=Never",
        "--attach",
        "--rm",
        "--command",
        "--",
        "sh",
        "-c",
        "echo out; exit 4",
    ])?;
    assert_eq!((done.status.code(), &*done.stdout), (Some(4), &b"out\n"[..]), "{done:?}");
    assert!(stderr(&done).contains("pod \"once\" deleted"), "{done:?}");
    world.until("the pod is gone", |world| {
        Ok(world.kletctl_ok(&["get", "pods"])?.is_empty().then_some(()))
    })?;
    world.end()
}

#[test]
fn mistakes_say_what_is_wrong_and_where() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let file = world.path("bad.yaml");
    let shown = file.display().to_string();
    let apply = |text: String| -> anyhow::Result<String> {
        fs::write(&file, text)?;
        refused(&world, &["apply", "-f", &shown])
    };

    let broken = apply(POD.replace("    image: busybox", "   image: busybox"))?;
    assert!(broken.starts_with(&format!("error: {shown}:10:")), "{broken}");
    assert_eq!(broken.matches("error").count(), 1, "{broken}");
    let unknown = apply(POD.replace("    image:", "    imagee:"))?;
    assert!(unknown.contains("unknown field \"spec.containers[0].imagee\""), "{unknown}");
    let place = format!("  --> {shown}:10:5: spec.containers[0].imagee (did you mean \"image\"?)");
    assert!(unknown.contains(&place), "{unknown}");
    let invalid = apply(
        POD.replace("image: busybox", "image: ''").replace("name: sleeper", "name: Sleeper"),
    )?;
    assert!(
        invalid.starts_with(
            "The Pod \"Sleeper\" is invalid: \n* metadata.name: Invalid value: \"Sleeper\""
        ),
        "{invalid}"
    );
    assert!(invalid.contains("* spec.containers[0].image: Required value"), "{invalid}");
    assert!(
        invalid.contains(&format!("  --> {shown}:10:12: spec.containers[0].image")),
        "{invalid}"
    );
    let wrong = apply(POD.replace("[sleep, '1000']", "[sleep, 1000]"))?;
    let place = format!("  --> {shown}:11:22: spec.containers[0].command[1]: expected ");
    assert!(wrong.contains(&place), "{wrong}");
    let kind = apply("apiVersion: v1\nkind: Pood\nmetadata: {name: x}\n".to_owned())?;
    assert!(kind.contains("no matches for kind \"Pood\" in version \"v1\""), "{kind}");
    let unserved = apply("apiVersion: v1\nkind: Service\nmetadata: {name: x}\n".to_owned())?;
    assert!(unserved.contains("no matches for kind \"Service\" in version \"v1\""), "{unserved}");
    assert_eq!(world.kletctl_ok(&["get", "pods"])?, "", "nothing was created");

    assert_eq!(
        refused(&world, &["get", "pds"])?,
        "error: the server doesn't have a resource type \"pds\"\n"
    );
    assert!(
        refused(&world, &["apply", "-f", "/nowhere.yaml"])?
            .contains("the path \"/nowhere.yaml\" does not exist")
    );
    assert_eq!(
        refused(&world, &["get", "svc"])?,
        "error: the server doesn't have a resource type \"services\"\n"
    );
    assert!(refused(&world, &["exec", "absent", "ls"])?.contains("Use exec [POD] -- [COMMAND]"));
    assert!(refused(&world, &["logs", "absent"])?.contains("pods \"absent\" not found"));
    assert!(refused(&world, &["no-such-verb"])?.contains("unrecognized subcommand"));
    let socket = world.path("absent.sock").display().to_string();
    let offline = refused(&world, &["--socket", &socket, "get", "pods"])?;
    assert_eq!(
        offline,
        format!(
            "kletd is not running (no answer on {socket}): start it with `kletd` as root, or `systemctl start kletd`\n"
        )
    );
    world.end()
}
