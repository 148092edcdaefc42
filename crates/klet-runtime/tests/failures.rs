//! Starts that fail: the text users see, and that nothing is left.

mod common;

use common::{World, alone};
use serde_json::json;

fn failing(change: impl FnOnce(&mut World)) -> String {
    let mut world = World::new();
    change(&mut world);
    world.failure()
}

#[test]
fn programs_that_cannot_be_executed() {
    for (program, text) in [
        ("/no/such/cmd", r#"exec: "/no/such/cmd": stat /no/such/cmd: no such file or directory"#),
        ("nosuch", r#"exec: "nosuch": executable file not found in $PATH"#),
        ("/etc/passwd", r#"exec: "/etc/passwd": permission denied"#),
        ("/etc", r#"exec: "/etc": permission denied"#),
        ("/bin/text", "exec /bin/text: exec format error"),
    ] {
        let error = failing(|world| {
            use std::os::unix::fs::PermissionsExt;
            let file = world.root().join("bin/text");
            let _guard = alone();
            std::fs::write(&file, "not a program\n").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            world.spec["process"]["args"] = json!([program]);
        });
        assert_eq!(error, format!("unable to start container process: {text}"));
    }
}

#[test]
fn working_directories_that_are_none() {
    let relative = failing(|world| world.spec["process"]["cwd"] = json!("tmp"));
    assert_eq!(relative, "Cwd must be an absolute path");
    let file = failing(|world| world.spec["process"]["cwd"] = json!("/etc/passwd"));
    assert_eq!(file, "unable to start container process: mkdir /etc/passwd: not a directory");
}

#[test]
fn volumes_that_are_not_there() {
    let error = failing(|world| {
        let mount =
            json!({"destination": "/mnt", "source": "/no/such/volume", "options": ["bind"]});
        world.spec["mounts"].as_array_mut().unwrap().push(mount);
    });
    assert_eq!(
        error,
        "unable to start container process: error during container init: error mounting \"/no/such/volume\" \
         to rootfs at \"/mnt\": stat /no/such/volume: no such file or directory"
    );
}

#[test]
fn a_file_over_a_directory() {
    let error = failing(|world| {
        let mount = json!({"destination": "/etc", "source": "/etc/passwd", "options": ["bind"]});
        world.spec["mounts"].as_array_mut().unwrap().push(mount);
    });
    assert!(error.ends_with("to rootfs at \"/etc\": mount: not a directory"), "{error}");
}

#[test]
fn specs_that_cannot_be_carried_out_are_config_errors() {
    for (path, value) in [
        ("/process/args", json!([])),
        ("/process/args", json!(["a\0b"])),
        ("/linux/namespaces", json!([{"type": "pid"}])),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "user"}])),
        ("/linux/sysctl", json!({"kernel.panic": "1"})),
        ("/linux/sysctl", json!({"net/../kernel/panic": "1"})),
    ] {
        let mut world = World::new();
        world.spec["linux"]["sysctl"] = json!({});
        *world.spec.pointer_mut(path).unwrap() = value;
        let error = world.run().unwrap_err();
        assert!(error.is_config_error(), "{path}: {error}");
    }
}

#[test]
fn a_memory_limit_below_any_process_says_so() {
    let error =
        failing(|world| world.spec["linux"]["resources"]["memory"] = json!({"limit": 4096}));
    assert!(error.contains("OOM-killed (memory limit too low?)"), "{error}");
}
