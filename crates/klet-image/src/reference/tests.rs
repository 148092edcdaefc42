//! Table tests, after the cases of `distribution/reference`.

use proptest::prelude::*;

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn canonical_and_familiar() {
    let table = [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("klet/fixture", "docker.io/klet/fixture:latest", "klet/fixture:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("host:5000/x", "host:5000/x:latest", "host:5000/x:latest"),
        ("A/b", "A/b:latest", "A/b:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("a__b---c.d", "docker.io/library/a__b---c.d:latest", "a__b---c.d:latest"),
        ("foo:80", "docker.io/library/foo:80", "foo:80"),
    ];
    for (text, canonical, familiar) in table {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), canonical, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(Reference::parse(canonical).unwrap(), reference);
        assert_eq!(Reference::parse(familiar).unwrap(), reference);
    }
    let both = Reference::parse(&format!("busybox:1@sha256:{HEX}")).unwrap();
    assert_eq!((both.tag(), both.digest().unwrap().len()), (Some("1"), 71));
    let digest = Reference::parse(&format!("busybox@sha256:{HEX}")).unwrap();
    assert_eq!((digest.tag(), digest.to_string().contains(":latest")), (None, false));
}

#[test]
fn refused() {
    let long = "a".repeat(250) + "/b";
    let table = [
        "",
        ":tag",
        "a:",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a_-b",
        "a___b",
        "a..b",
        "a@sha256:12",
        "a b",
        "a:b:c/d e",
        "host:port/x",
        "a:-t",
        "[::1/x",
        "[]/x",
        "a@md5:12",
        "é",
        "a:ta g",
    ];
    for text in table {
        let error = Reference::parse(text).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("couldn't parse image name {text:?}: invalid reference format")
        );
    }
    assert!(matches!(Reference::parse("Busybox"), Err(ReferenceError::Uppercase(..))));
    assert!(matches!(Reference::parse(HEX), Err(ReferenceError::Hexadecimal(_))));
    assert!(matches!(Reference::parse(&long), Err(ReferenceError::TooLong(_))));
}

proptest! {
    #[test]
    fn parse_never_panics_and_round_trips(text in "\\PC{0,40}|[a-zA-Z0-9./:@_\\-\\[\\]]{0,40}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference.clone()));
            prop_assert_eq!(Reference::parse(&reference.familiar()), Ok(reference));
        }
    }
}
