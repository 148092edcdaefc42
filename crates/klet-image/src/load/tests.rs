//! Archives from outside: what is accepted, what is refused, and that a refusal leaves nothing.

use std::io::{self, Read};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{
    CONFIG, LAYER, LayerTar, MANIFEST, Oci, World, archive, blob_name, descriptor, gzip, names,
    zstd,
};

fn layer(text: &str) -> Vec<u8> {
    LayerTar::default().dir("etc", 0o755).file("etc/text", text).bytes()
}

fn busybox() -> Oci {
    Oci::new("busybox", vec![layer("low"), LayerTar::default().file("etc/more", "high").bytes()])
}

#[test]
fn every_form_of_an_image() {
    let plain = busybox();
    let docker = docker_archive(&plain);
    let forms = [
        plain.archive(),
        gzip(&plain.archive()),
        zstd(&plain.archive()),
        busybox().stored(gzip).archive(),
        busybox().stored(zstd).archive(),
        docker,
    ];
    for (number, form) in forms.iter().enumerate() {
        let world = World::new();
        let loaded = world.store.load(&form[..]).unwrap();
        assert_eq!(loaded[0].name.as_deref(), Some("docker.io/library/busybox:latest"), "{number}");
        let file = world.root().join("../image");
        fs::write(&file, form).unwrap();
        assert_eq!(world.store.load_path(&file).unwrap(), loaded, "{number}");
        fs::remove_file(file).unwrap();
        let image = world.store.resolve("busybox").unwrap().unwrap();
        assert_eq!(
            (image.id.as_str(), image.size, image.layers.len()),
            (loaded[0].id.as_str(), 7, 2)
        );
        assert_eq!(fs::read_to_string(image.layers[0].join("etc/more")).unwrap(), "high");
        assert_eq!(fs::read_to_string(image.layers[1].join("etc/text")).unwrap(), "low");
        assert_eq!(
            (image.config.cmd, image.config.env),
            (vec!["sh".to_owned()], vec!["A=b".to_owned()])
        );
        world.assert_clean();
    }
}

/// What `docker save` wrote before it wrote OCI layouts, with a layer that is a link to another.
fn docker_archive(oci: &Oci) -> Vec<u8> {
    let mut tar = LayerTar::default();
    let config = oci.config.to_string();
    let manifest = json!([{"Config": "abc.json", "RepoTags": ["busybox:latest"],
        "Layers": ["one/layer.tar", "two/layer.tar"]}]);
    tar = tar.file("abc.json", &config).symlink("one/layer.tar", "../three/layer.tar");
    for (name, bytes) in ["./three/layer.tar", "two/layer.tar"].iter().zip(&oci.layers) {
        tar = tar.raw(&LayerTar::header(b'0', name, bytes.len() as u64), bytes);
    }
    tar.file("manifest.json", &manifest.to_string()).bytes()
}

#[test]
fn layout_directory() {
    let world = World::new();
    let layout = tempfile::tempdir().unwrap();
    busybox().layout(layout.path());
    world.store.load_path(layout.path()).unwrap();
    let blob = layout.path().join(blob_name(&layer("low")));
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
    let other = World::new();
    assert!(matches!(other.store.load_path(layout.path()), Err(LoadError::Read(_))));
    other.assert_clean();
}

#[test]
fn layers_are_shared() {
    let world = World::new();
    world.store.load(&busybox().archive()[..]).unwrap();
    let other = Oci::new("other", vec![layer("low"), LayerTar::default().file("x", "").bytes()]);
    world.store.load(&other.archive()[..]).unwrap();
    assert_eq!(names(&world.root().join("images/layers")).len(), 3);
    world.store.load(&busybox().archive()[..]).unwrap();
    assert_eq!(names(&world.root().join("images/layers")).len(), 3);
}

#[test]
fn concurrent_loads_agree() {
    let world = World::new();
    let bytes = busybox().archive();
    std::thread::scope(|scope| {
        let load = || world.store.load(&bytes[..]).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    });
    assert_eq!(world.store.list().len(), 1);
    world.assert_clean();
}

/// Loads, expects a refusal, and returns its text with its causes.
fn refusal(bytes: &[u8]) -> String {
    let world = World::new();
    let error = world.store.load(bytes).unwrap_err();
    assert!(world.store.list().is_empty());
    world.assert_clean();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn replaced(member: String, bytes: Vec<u8>) -> Vec<u8> {
    let mut image = busybox();
    image.members.insert(member, bytes);
    image.archive()
}

#[test]
fn promises_are_checked() {
    let low = layer("low");
    let other = layer("lox");
    assert!(refusal(&replaced(blob_name(&low), other.clone())).contains("has digest"));
    assert!(refusal(&replaced(blob_name(&low), vec![0; 10])).contains("has 10 bytes, expected"));
    let mut wrong_diff = busybox();
    wrong_diff.config["rootfs"]["diff_ids"][1] = wrong_diff.config["rootfs"]["diff_ids"][0].clone();
    assert!(refusal(&wrong_diff.archive()).contains("uncompressed"));
    let mut few = busybox();
    few.config["rootfs"]["diff_ids"] = json!([]);
    assert!(refusal(&few.archive()).contains("0 diff_ids for 2 layers"));
    let config = busybox().config.to_string().into_bytes();
    assert!(
        refusal(&replaced(blob_name(&config), vec![b' '; config.len()])).contains("has digest")
    );
    let mut missing = busybox();
    missing.layers.pop();
    missing.manifest["layers"] = json!([descriptor(LAYER, &low), descriptor(LAYER, &other)]);
    assert!(refusal(&missing.archive()).contains("is missing"));
    let mut mixed = busybox().stored(gzip);
    mixed.config["rootfs"]["diff_ids"][0] = json!("sha256:../../../../etc/passwd");
    assert!(refusal(&mixed.archive()).contains("not a sha256 digest"));
}

#[test]
fn ambiguous_documents_are_refused() {
    let with = |change: &dyn Fn(&mut Oci)| {
        let mut image = busybox();
        change(&mut image);
        refusal(&image.archive())
    };
    assert!(with(&|image| image.manifest["manifests"] = json!([])).contains("no manifests"));
    assert!(with(&|image| image.manifest["mediaType"] = json!(LAYER)).contains("contradicts"));
    assert!(with(&|image| image.manifest["schemaVersion"] = json!(1)).contains("schema version 2"));
    assert!(with(&|image| image.manifest["fsLayers"] = json!([])).contains("schema version 2"));
    assert!(
        with(&|image| image.manifest["config"] = descriptor(MANIFEST, b""))
            .contains("not supported")
    );
    let strange = descriptor("application/zip", &layer("low"));
    assert!(with(&|image| image.manifest["layers"] = json!([strange])).contains("not supported"));
    assert!(
        with(&|image| image.config["os"] = json!("windows"))
            .contains("no image for linux/amd64 (found windows/amd64)")
    );
    let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
    assert!(refusal(&replaced("index.json".into(), twice.to_vec())).contains("duplicate field"));
    assert!(
        with(&|image| image.name = Some("Bad Name".into())).contains("couldn't parse image name")
    );
    assert!(refusal(&replaced("index.json".into(), b"{}".to_vec())).contains("schema version"));
    let deep = "[".repeat(100_000).into_bytes();
    assert!(refusal(&replaced("index.json".into(), deep)).contains("not valid"));
}

#[test]
fn not_images() {
    assert!(refusal(b"").contains("not an image archive"));
    assert!(refusal(&LayerTar::default().file("x", "").bytes()).contains("not an image archive"));
    assert!(refusal(b"#!/bin/sh\n").contains("cannot read"));
    assert!(refusal(&[0x1f, 0x8b, 1, 2, 3]).contains("cannot read"));
    assert!(
        refusal(&archive(&[("manifest.json".to_owned(), b"[]".to_vec())].into()))
            .contains("not an image")
    );
    let whole = busybox().archive();
    for cut in [100, 513, whole.len() / 2, whole.len() - 3000] {
        refusal(&whole[..cut]);
        refusal(&gzip(&whole)[..cut.min(gzip(&whole).len() - 1)]);
    }
}

#[test]
fn hostile_layers_leave_nothing() {
    let hostile = [
        LayerTar::default().file("a", "").file("../../../../canary", "dead"),
        LayerTar::default().hardlink("a", "/etc/passwd"),
        LayerTar::default().file(".wh.", ""),
    ];
    for tar in hostile {
        let text = refusal(&Oci::new("x", vec![layer("fine"), tar.bytes()]).archive());
        assert!(text.contains("layer 2 (sha256:") && text.contains("entry"), "{text}");
    }
}

#[test]
fn a_failed_load_keeps_the_layers_of_others() {
    let world = World::new();
    world.store.load(&busybox().archive()[..]).unwrap();
    let bad = Oci::new("busybox", vec![layer("low"), LayerTar::default().file("..", "").bytes()]);
    world.store.load(&bad.archive()[..]).unwrap_err();
    let image = world.store.resolve("busybox").unwrap().unwrap();
    assert!(image.layers.iter().all(|layer| layer.is_dir()));
    world.assert_clean();
}

/// Yields `n` zero bytes.
fn zeros(n: u64) -> impl Read {
    io::repeat(0).take(n)
}

#[test]
fn bombs_stop_early() {
    let limits = Limits { stream: 1 << 20, image: 1 << 20, ratio: 20, ratio_free: 64 << 10 };
    let world = World::with(limits);
    let bomb = zstd::encode_all(zeros(512 << 20), 1).unwrap();
    let text = |error: LoadError| {
        format!("{:?}", std::error::Error::source(&error).map(ToString::to_string))
    };
    assert!(text(world.store.load(&bomb[..]).unwrap_err()).contains("times its size"));
    let large = Limits { ratio: u64::MAX, ..limits };
    let world = World::with(large);
    assert!(
        text(world.store.load(zeros(512 << 20)).unwrap_err()).contains("more than 1048576 bytes")
    );
    // Small enough as a stream, too large together.
    let half = LayerTar::default().file("f", &"x".repeat(600 << 10)).bytes();
    let both = Oci::new(
        "x",
        vec![half.clone(), LayerTar::default().file("g", &"y".repeat(600 << 10)).bytes()],
    );
    let world = World::with(Limits { stream: 4 << 20, ..large });
    let error = world.store.load(&both.archive()[..]).unwrap_err();
    assert!(error.to_string().contains("exceed"), "{error}");
    let bomb = gzip(&LayerTar::default().file("f", &"x".repeat(600 << 10)).bytes());
    let mut image = Oci::new("x", vec![half]);
    image.layers = vec![bomb];
    let world = World::with(limits);
    assert!(matches!(
        world.store.load(&image.archive()[..]),
        Err(LoadError::Entry { .. } | LoadError::Read(_))
    ));
    world.assert_clean();
}

#[test]
fn the_right_platform_is_chosen() {
    let mut other = busybox();
    other.config["architecture"] = json!("s390x");
    let parts = |image: &Oci| {
        let config = image.config.to_string().into_bytes();
        let layers: Vec<_> = image.layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
        let manifest =
            json!({"schemaVersion": 2, "config": descriptor(CONFIG, &config), "layers": layers});
        (config, manifest.to_string().into_bytes())
    };
    let (config, manifest) = parts(&busybox());
    let (_, foreign) = parts(&other);
    let place = |bytes: &[u8], architecture: &str| {
        let mut entry = descriptor(MANIFEST, bytes);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let nested = json!({"schemaVersion": 2,
        "manifests": [place(&foreign, "s390x"), place(&manifest, "amd64")]});
    let nested = nested.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.index.v1+json", &nested);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "multi:1"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
    let mut image = busybox();
    image.members.insert("index.json".into(), index);
    for bytes in [nested, manifest, config.clone()] {
        image.members.insert(blob_name(&bytes), bytes);
    }
    let world = World::new();
    let loaded = world.store.load(&image.archive()[..]).unwrap();
    assert_eq!(loaded[0].name.as_deref(), Some("docker.io/library/multi:1"));
    assert_eq!(loaded[0].id, Digest::of(&config).to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_streams_never_panic(head in prop_oneof![
        Just(vec![]), Just(vec![0x1f, 0x8b, 8, 0]), Just(vec![0x28, 0xb5, 0x2f, 0xfd])
    ], tail in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let world = World::new();
        prop_assert!(world.store.load(&[head, tail].concat()[..]).is_err());
        world.assert_clean();
    }

    #[test]
    fn damaged_archives_load_whole_or_not_at_all(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let world = World::new();
        let mut bytes = busybox().archive();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if world.store.load(&bytes[..]).is_err() {
            prop_assert!(world.store.list().is_empty());
        }
        world.assert_clean();
    }
}
