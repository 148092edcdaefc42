//! Clients that mean no good, or know no better.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{DEADLINE, JSON, PODS, World, failure};

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let world = World::start().await;
    let deep = "[".repeat(200_000);
    let deep_object = format!("{{\"metadata\":{}", "{\"a\":".repeat(100_000));
    for body in [
        "",
        "{",
        "null",
        "7",
        "\"x\"",
        "[]",
        "{}",
        "\u{0}",
        "{\"metadata\":7}",
        &deep,
        &deep_object,
    ] {
        let answer = world.send("POST", PODS, (JSON, body.to_owned())).await;
        let (code, _, message) = failure(&answer);
        assert!((400..500).contains(&code), "{code} {message}");
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert_eq!(world.send("POST", PODS, ("application/yaml", bomb)).await.code, 400);
    assert_eq!(world.send("POST", PODS, (JSON, vec![0xff, 0xfe])).await.code, 400);
}

#[tokio::test]
async fn bodies_have_a_limit_but_not_those_of_the_extension() {
    let world = World::start().await;
    let huge = vec![b' '; 4 << 20];
    let refused = world.send("POST", PODS, (JSON, huge.clone())).await;
    assert_eq!(failure(&refused).1, "RequestEntityTooLarge");
    assert_eq!(refused.code, 413);
    let counted = world.send("POST", "/klet/v1/images/load", ("application/x-tar", huge)).await;
    assert_eq!(counted.value["length"], 4 << 20);
}

#[tokio::test]
async fn odd_paths_lead_nowhere() {
    let world = World::start().await;
    for path in [
        "/",
        "//",
        "/api/v1/namespaces//pods",
        "/api/v1/namespaces/default/pods/..%2f..%2fsecrets",
        "/api/v1/namespaces/%00/pods/x",
        "/api/v1/../../etc/passwd",
        "/metrics/../api",
        "/api/v1/namespaces/default/pods/p/log/extra",
    ] {
        assert_eq!(world.get(path).await.code, 404, "{path}");
    }
    for path in ["/api/v1/pods?labelSelector=%", "/api/v1/pods?watch=2", "/api/v1/nodes/%zz"] {
        assert_eq!(world.get(path).await.code, 400, "{path}");
    }
    let mut client = world.connect().await;
    let long = format!("GET /api/v1/pods?x={} HTTP/1.1\r\nHost: klet\r\n\r\n", "a".repeat(80_000));
    // The server may close before it has read everything.
    drop(client.write_all(long.as_bytes()).await);
    let mut answer = [0; 10];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 4");
    assert_eq!(world.get("/healthz").await.code, 200);
}

#[tokio::test]
async fn methods_are_those_of_the_resource() {
    let world = World::start().await;
    world.pod("p").await;
    for method in ["POST", "OPTIONS", "TRACE", "BREW"] {
        let answer = world.send(method, &format!("{PODS}/p"), (JSON, "{}")).await;
        assert_eq!(answer.code, 405, "{method}");
    }
    assert_eq!(world.send("POST", "/version", (JSON, "{}")).await.code, 405);
    assert_eq!(world.send("DELETE", &format!("{PODS}/p/status"), (JSON, "")).await.code, 405);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut_off() {
    let world = World::start().await;
    let mut slow = world.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: k").await.unwrap();
    // From here on time passes when nothing else happens.
    tokio::time::pause();
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, slow.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(world.get("/healthz").await.code, 200);
}

#[tokio::test]
async fn nonsense_instead_of_http_is_survived() {
    let world = World::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\xff",
    ] {
        let mut client = world.connect().await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        drop(tokio::time::timeout(DEADLINE, client.read_to_end(&mut rest)).await.unwrap());
    }
    assert_eq!(world.get("/healthz").await.code, 200);
}

#[tokio::test]
async fn many_clients_at_once_are_all_served() {
    let world = World::start().await;
    world.pod("p").await;
    let path = format!("{PODS}/p");
    let requests = (0..200).map(|_| world.get(&path));
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.code == 200));
}
