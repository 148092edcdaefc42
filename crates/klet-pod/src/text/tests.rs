//! Texts to the letter.

use super::*;

fn web() -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some("p".into());
    pod.metadata.namespace = Some("ns".into());
    pod.metadata.uid = Some("uid".into());
    pod
}

#[test]
fn durations_read_as_go_prints_them() {
    let table = [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (12_000_000, "12ms"),
        (1_234_000_000, "1.234s"),
        (10_000_000_000, "10s"),
        (80_000_000_000, "1m20s"),
        (300_000_000_000, "5m0s"),
        (3_600_000_000_000, "1h0m0s"),
    ];
    for (nanos, text) in table {
        assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
    }
}

#[test]
fn crash_loop_texts() {
    assert_eq!(
        crash_back_off(Duration::from_secs(40), "c", &web()),
        "back-off 40s restarting failed container=c pod=p_ns(uid)"
    );
    assert_eq!(
        crash_back_off_event("c", &web()),
        "Back-off restarting failed container c in pod p_ns(uid)"
    );
}

#[test]
fn hook_texts() {
    let command = ["sh".to_owned(), "-c".to_owned(), "x".to_owned()];
    assert_eq!(
        exec_hook_failed(&web(), "c", &command, 1, "no\n", "no\n"),
        "Exec lifecycle hook ([sh -c x]) for Container \"c\" in Pod \"p_ns(uid)\" failed - error: \
         command 'sh -c x' exited with 1: no\n, message: \"no\\n\""
    );
    assert_eq!(
        sleep_hook_failed(&web(), "c", 5),
        "Sleep lifecycle hook (5) for Container \"c\" in Pod \"p_ns(uid)\" failed - error: \
         container terminated before sleep hook finished"
    );
}

#[test]
fn image_texts() {
    assert_eq!(
        invalid_image_name("A:", "couldn't parse image name \"A:\": invalid reference format"),
        "Failed to apply default image tag \"A:\": couldn't parse image name \"A:\": \
         invalid reference format"
    );
    assert_eq!(
        pull_back_off("x", "not found"),
        "Back-off pulling image \"x\": ErrImagePull: not found"
    );
    assert_eq!(
        image_pulled("x", Duration::from_micros(1_234_567), Duration::from_millis(1_500), 12),
        "Successfully pulled image \"x\" in 1.234s (1.5s including waiting). Image size: 12 bytes."
    );
}

#[test]
fn quoting_escapes_as_go_does() {
    assert_eq!(quoted("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\x01é\"");
}
