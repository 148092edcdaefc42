//! Volumes in temporary directories, those that mount in a mount namespace of the test's own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use jiff::Timestamp;
use klet_api::PodSpec;
use klet_api::k8s_openapi::ByteString;
use klet_api::k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, HostPathVolumeSource, NFSVolumeSource,
    PodSecurityContext, Volume,
};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::*;

mod attacks;

/// One ConfigMap `c` and one Secret `s`, under whatever name they are asked for.
#[derive(Default)]
struct Fixed(Option<ConfigMap>, Option<Secret>);

impl Sources for Fixed {
    fn config_map(&self, _: &str, _: &str) -> Option<ConfigMap> {
        self.0.clone()
    }
    fn secret(&self, _: &str, _: &str) -> Option<Secret> {
        self.1.clone()
    }
    fn resource(&self, _: &Pod, selector: &ResourceFieldSelector) -> Result<String, String> {
        Ok(format!("<{}>", selector.resource))
    }
}

/// Run `test` in a mount namespace of its own, with a directory that is gone afterwards.
fn privately(test: impl FnOnce(&Path) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let world = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        test(&path);
    });
    if let Err(panic) = world.join() {
        std::panic::resume_unwind(panic);
    }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    path.as_ref().metadata().unwrap().permissions().mode() & 0o7777
}

/// A volume written as in a manifest.
fn volume(value: serde_json::Value) -> Volume {
    serde_json::from_value(value).unwrap()
}

fn secret(pairs: &[(&str, &str)]) -> Fixed {
    let data = pairs.iter().map(|(k, v)| ((*k).to_owned(), ByteString((*v).into()))).collect();
    Fixed(None, Some(Secret { data: Some(data), ..Default::default() }))
}

fn pod(volume: Volume) -> Pod {
    let spec = PodSpec { volumes: Some(vec![volume]), ..Default::default() };
    Pod { spec: Some(spec), ..Default::default() }
}

fn config(pairs: &[(&str, &str)]) -> Fixed {
    let data = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Fixed(Some(ConfigMap { data: Some(data), ..Default::default() }), None)
}

fn config_volume() -> Volume {
    let source = ConfigMapVolumeSource { name: "c".into(), ..Default::default() };
    Volume { name: "v".into(), config_map: Some(source), ..Default::default() }
}

#[test]
fn a_config_map_changes_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = PodDirs::new(dir.path().to_owned());
    let now = Timestamp::UNIX_EPOCH;
    let made =
        set_up(&pod(config_volume()), &dirs, &config(&[("a", "1"), ("b", "2")]), now).unwrap();
    let path = &made["v"].host_path;
    assert!(made["v"].read_only_always);
    assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "1");
    assert!(std::fs::read_link(path.join("a")).unwrap().starts_with("..data"));
    let before = std::fs::read_link(path.join("..data")).unwrap();
    set_up(&pod(config_volume()), &dirs, &config(&[("a", "1"), ("b", "2")]), now).unwrap();
    assert_eq!(std::fs::read_link(path.join("..data")).unwrap(), before, "unchanged");
    let later = Timestamp::from_second(9).unwrap();
    set_up(&pod(config_volume()), &dirs, &config(&[("a", "3")]), later).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "3");
    assert!(path.join("b").symlink_metadata().is_err());
    assert!(!path.join(before).exists());
}

#[test]
fn what_is_missing_is_told_in_the_kubelets_words() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = PodDirs::new(dir.path().to_owned());
    let error =
        set_up(&pod(config_volume()), &dirs, &Fixed::default(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MountVolume.SetUp failed for volume \"v\" : configmap \"c\" not found"
    );
    let file =
        HostPathVolumeSource { path: "/proc/version".into(), type_: Some("Directory".into()) };
    let volume = Volume { name: "h".into(), host_path: Some(file), ..Default::default() };
    let error = set_up(&pod(volume), &dirs, &Fixed::default(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(
        error.to_string().ends_with("hostPath type check failed: /proc/version is not a directory")
    );
}

#[test]
fn an_empty_dir_is_for_everyone_and_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = PodDirs::new(dir.path().to_owned());
    let volume = Volume {
        name: "e".into(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Default::default()
    };
    let made = set_up(&pod(volume), &dirs, &Fixed::default(), Timestamp::UNIX_EPOCH).unwrap();
    let path = made["e"].host_path.clone();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o777);
    tear_down(&dirs).unwrap();
    tear_down(&dirs).unwrap();
    assert!(!path.exists());
}

#[test]
fn secrets_lie_in_memory_and_go_with_the_pod() {
    privately(|dir| {
        let dirs = PodDirs::new(dir.join("pod"));
        let pod = pod(volume(json!({"name": "v", "secret": {
            "secretName": "s", "defaultMode": 0o400, "items": [{"key": "a", "path": "x/y/a"}]}})));
        let sources = secret(&[("a", "hidden"), ("b", "unused")]);
        let made = set_up(&pod, &dirs, &sources, Timestamp::UNIX_EPOCH).unwrap();
        let path = &made["v"].host_path;
        assert!(mounts::is_mount_point(path).unwrap());
        assert_eq!(mode(path), 0o1777);
        assert_eq!(std::fs::read_to_string(path.join("x/y/a")).unwrap(), "hidden");
        assert_eq!(mode(path.join("x/y/a")), 0o400);
        assert_eq!(mode(path.join("x/y")), 0o755);
        assert!(path.join("b").symlink_metadata().is_err());
        set_up(&pod, &dirs, &sources, Timestamp::UNIX_EPOCH).unwrap();
        tear_down(&dirs).unwrap();
        tear_down(&dirs).unwrap();
        assert_eq!(std::fs::read_dir(dirs.base()).unwrap().count(), 0);
    });
}

#[test]
fn projected_and_downward_files_are_exact() {
    privately(|dir| {
        let dirs = PodDirs::new(dir.join("pod"));
        let volume = volume(json!({"name": "v", "projected": {"defaultMode": 0o440, "sources": [
            {"configMap": {"name": "c"}},
            {"secret": {"name": "s", "optional": true}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "one", "fieldRef": {"fieldPath": "metadata.labels['b']"}},
                {"path": "none", "mode": 0o600, "fieldRef": {"fieldPath": "metadata.annotations['x']"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]}}]}}));
        let mut pod = pod(volume);
        let labels = [("b", "two \"words\""), ("a", "1")].map(|(k, v)| (k.into(), v.into()));
        pod.metadata.labels = Some(labels.into());
        let made =
            set_up(&pod, &dirs, &config(&[("key", "value")]), Timestamp::UNIX_EPOCH).unwrap();
        let path = &made["v"].host_path;
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(read("key"), "value");
        assert_eq!(read("labels"), "a=\"1\"\nb=\"two \\\"words\\\"\"");
        assert_eq!(read("one"), "two \"words\"");
        assert_eq!(read("none"), "");
        assert_eq!(read("cpu"), "<limits.cpu>");
        assert_eq!((mode(path.join("key")), mode(path.join("none"))), (0o440, 0o600));
        pod.metadata.labels = None;
        update(&pod, &dirs, &config(&[("key", "new")]), Timestamp::from_second(5).unwrap())
            .unwrap();
        assert_eq!((read("labels").as_str(), read("key").as_str()), ("", "new"));
        tear_down(&dirs).unwrap();
    });
}

#[test]
fn an_fs_group_owns_what_containers_get() {
    privately(|dir| {
        let dirs = PodDirs::new(dir.join("pod"));
        let mut pod = pod(volume(json!({"name": "e", "emptyDir": {}})));
        let spec = pod.spec.as_mut().unwrap();
        spec.security_context =
            Some(PodSecurityContext { fs_group: Some(2000), ..Default::default() });
        let more = [
            json!({"name": "c", "configMap": {"name": "c", "defaultMode": 0o400, "items": [{"key": "a", "path": "d/a"}]}}),
            json!({"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
        ];
        spec.volumes.as_mut().unwrap().extend(more.map(volume));
        for _ in 0..2 {
            set_up(&pod, &dirs, &config(&[("a", "1")]), Timestamp::UNIX_EPOCH).unwrap();
        }
        let made = set_up(&pod, &dirs, &config(&[("a", "1")]), Timestamp::UNIX_EPOCH).unwrap();
        let of = |name: &str, rest: &str| {
            let path = made[name].host_path.join(rest);
            (path.metadata().unwrap().gid(), mode(path))
        };
        assert_eq!(of("e", ""), (2000, 0o2777));
        assert_eq!(of("m", ""), (2000, 0o3777));
        assert_eq!(of("c", ""), (2000, 0o2777));
        assert_eq!(of("c", "d"), (2000, 0o2755));
        assert_eq!(of("c", "d/a"), (2000, 0o440));
        let full = std::fs::write(made["m"].host_path.join("f"), vec![0; 2 << 20]).unwrap_err();
        assert_eq!(
            full.kind(),
            std::io::ErrorKind::StorageFull,
            "the size limit is the file system's"
        );
        assert_eq!(
            std::fs::read_dir(&made["c"].host_path).unwrap().count(),
            3,
            "nothing was written again"
        );
        tear_down(&dirs).unwrap();
    });
}

#[test]
fn what_cannot_be_mounted_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = PodDirs::new(dir.path().to_owned());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let host = |kind: &str| json!({"name": "v", "hostPath": {"path": file, "type": kind}});
    let named = |end: &str| format!("hostPath type check failed: {} is not {end}", file.display());
    let nfs = NFSVolumeSource { path: "/x".into(), server: "s".into(), read_only: None };
    let nfs = Volume { name: "v".into(), nfs: Some(nfs), ..Default::default() };
    let token = json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let cases = [
        (volume(host("DirectoryOrCreate")), named("a directory")),
        (volume(host("Socket")), named("a socket file")),
        (volume(host("CharDevice")), named("a character device")),
        (volume(host("BlockDevice")), named("a block device")),
        (
            volume(
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}),
            ),
            "configmap references non-existent config key: k".into(),
        ),
        (
            volume(json!({"name": "v", "secret": {"secretName": "s"}})),
            "secret \"s\" not found".into(),
        ),
        (
            volume(json!({"name": "v", "emptyDir": {"medium": "Gold"}})),
            "unknown storage medium \"Gold\"".into(),
        ),
        (volume(token), "failed to fetch token: klet does not issue service account tokens".into()),
        (nfs, "volume type nfs is not supported by klet".into()),
    ];
    for (volume, why) in cases {
        let error = set_up(&pod(volume), &dirs, &config(&[]), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.to_string(), format!("MountVolume.SetUp failed for volume \"v\" : {why}"));
    }
    let absent = json!({"name": "v", "configMap": {"name": "c", "optional": true}});
    set_up(&pod(volume(absent)), &dirs, &Fixed::default(), Timestamp::UNIX_EPOCH).unwrap();
    let made = set_up(&pod(volume(host("File"))), &dirs, &Fixed::default(), Timestamp::UNIX_EPOCH)
        .unwrap();
    assert_eq!(made["v"].host_path, file);
}

#[test]
fn usage_counts_what_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = PodDirs::new(dir.path().to_owned());
    let made = set_up(
        &pod(volume(json!({"name": "e", "emptyDir": {}}))),
        &dirs,
        &Fixed::default(),
        Timestamp::UNIX_EPOCH,
    )
    .unwrap();
    let path = &made["e"].host_path;
    let before = usage(&dirs).unwrap()["e"];
    assert_eq!(before.inodes, 1);
    std::fs::create_dir(path.join("d")).unwrap();
    std::fs::write(path.join("d/f"), vec![1; 1 << 20]).unwrap();
    std::fs::hard_link(path.join("d/f"), path.join("again")).unwrap();
    std::os::unix::fs::symlink("/", path.join("everything")).unwrap();
    let after = usage(&dirs).unwrap()["e"];
    assert_eq!(after.inodes, 4);
    assert!((1 << 20..2 << 20).contains(&(after.bytes - before.bytes)), "{after:?}");
}
