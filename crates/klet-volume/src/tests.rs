//! Volumes in temporary directories; what mounts is tested end to end.

use klet_api::PodSpec;
use klet_api::k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, HostPathVolumeSource,
};
use std::os::unix::fs::PermissionsExt;

use super::*;

struct Fixed(Option<ConfigMap>);

impl Sources for Fixed {
    fn config_map(&self, _: &str, _: &str) -> Option<ConfigMap> {
        self.0.clone()
    }
    fn secret(&self, _: &str, _: &str) -> Option<Secret> {
        None
    }
}

fn pod(volume: Volume) -> Pod {
    let spec = PodSpec { volumes: Some(vec![volume]), ..Default::default() };
    Pod { spec: Some(spec), ..Default::default() }
}

fn config(pairs: &[(&str, &str)]) -> Fixed {
    let data = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Fixed(Some(ConfigMap { data: Some(data), ..Default::default() }))
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
        set_up(&pod(config_volume()), &dirs, &Fixed(None), Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MountVolume.SetUp failed for volume \"v\" : configmap \"c\" not found"
    );
    let file =
        HostPathVolumeSource { path: "/proc/version".into(), type_: Some("Directory".into()) };
    let volume = Volume { name: "h".into(), host_path: Some(file), ..Default::default() };
    let error = set_up(&pod(volume), &dirs, &Fixed(None), Timestamp::UNIX_EPOCH).unwrap_err();
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
    let made = set_up(&pod(volume), &dirs, &Fixed(None), Timestamp::UNIX_EPOCH).unwrap();
    let path = made["e"].host_path.clone();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o777);
    tear_down(&dirs).unwrap();
    tear_down(&dirs).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_sub_path_never_leaves_its_volume() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::os::unix::fs::symlink("/etc", volume.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../..", volume.join("up")).unwrap();
    let dirs = PodDirs::new(dir.path().join("pod"));
    for hostile in ["absolute", "absolute/new", "up", "up/x", "../x", "/etc"] {
        let asked = SubPath {
            volume: &volume,
            volume_name: "v",
            container: "c",
            index: 0,
            sub_path: hostile,
        };
        let error = sub_path(&dirs, &asked).unwrap_err();
        let text = "failed to prepare subPath for volumeMount \"v\" of container \"c\"";
        assert_eq!(error.to_string(), text, "{hostile}");
    }
}
