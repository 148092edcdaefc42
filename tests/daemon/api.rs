//! Clients that mean no good: each is answered with a Status or cut off, and nobody else notices.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use klet_e2e::World;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What hostile clients may cost the daemon, bytes.
const GROWTH: u64 = 64 << 20;

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: klet\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The code and the Status of an answer.
fn status(answer: &[u8]) -> anyhow::Result<(u64, Value)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("answer {text:?}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: Value = serde_json::from_str(body).with_context(|| format!("body {body:?}"))?;
    ensure!(status["kind"] == "Status", "{status}");
    Ok((code.context("no code")?, status))
}

#[test]
fn hostile_requests_are_answered_with_a_status() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let before = world.daemon_memory()?;
    let deep_json = "[".repeat(1 << 20);
    let deep_yaml = format!("a: {}", "[".repeat(1 << 20));
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        let last = level - 1;
        bomb.push_str(&format!(
            "a{level}: &a{level} [*a{last},*a{last},*a{last},*a{last},*a{last}]\n"
        ));
    }
    let json = "application/json";
    for (name, kind, body, expected) in [
        ("no JSON", json, "{", 400),
        ("no object", json, "7", 400),
        ("deep JSON", json, deep_json.as_str(), 400),
        ("deep YAML", "application/yaml", deep_yaml.as_str(), 400),
        ("a YAML bomb", "application/yaml", bomb.as_str(), 400),
        ("of no known type", "image/png", "{}", 415),
    ] {
        for _ in 0..3 {
            let answer = world.raw(&post(kind, body.as_bytes()))?;
            let (code, status) = status(&answer).context(name)?;
            ensure!(code == expected, "{name}: {code} {status}");
        }
    }
    let huge = vec![b' '; 16 << 20];
    let (code, _) = status(&world.raw(&post(json, &huge))?).context("a huge body")?;
    ensure!(code == 413, "a huge body: {code}");
    let used = world.daemon_memory()?;
    ensure!(used < before + GROWTH, "memory went from {before} to {used}");
    world.end()
}

#[test]
fn what_is_no_http_is_cut_off() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let headers: String = (0..2000).map(|n| format!("X-{n}: {}\r\n", "v".repeat(1000))).collect();
    let many = format!("GET /healthz HTTP/1.1\r\nHost: k\r\n{headers}\r\n");
    let long = format!("GET /{} HTTP/1.1\r\nHost: k\r\n\r\n", "x".repeat(1 << 20));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        many.as_bytes(),
        long.as_bytes(),
    ] {
        let answer = world.raw(bytes)?;
        ensure!(!answer.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&answer));
        world.request("GET", "/readyz", b"")?;
    }
    world.end()
}

#[test]
fn slow_clients_keep_nobody_waiting() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut stream = world.connect()?;
        let body = post("application/json", &vec![b' '; 1 << 20]);
        // Half a head, or a head and a hundredth of the body.
        let end = if number % 2 == 0 { 40 } else { 10_000 };
        stream.write_all(&body[..end])?;
        slow.push(stream);
    }
    let begun = Instant::now();
    for number in 0..20 {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("m{number}") },
        });
        world.request("POST", MAPS, map.to_string().as_bytes())?;
    }
    let took = begun.elapsed();
    ensure!(took < Duration::from_secs(5), "20 requests took {took:?}");
    world.end()
}

#[test]
fn a_thousand_watches_hear_of_a_change() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let before = world.daemon_memory()?;
    let mut watches = Vec::new();
    for _ in 0..1000 {
        let mut stream = world.connect()?;
        write!(stream, "GET {MAPS}?watch=true HTTP/1.1\r\nHost: klet\r\n\r\n")?;
        watches.push(stream);
    }
    for stream in &mut watches {
        let mut head = [0; 15];
        stream.read_exact(&mut head)?;
        ensure!(&head == b"HTTP/1.1 200 OK", "{:?}", String::from_utf8_lossy(&head));
    }
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "news" },
    });
    world.request("POST", MAPS, map.to_string().as_bytes())?;
    for stream in &mut watches {
        let mut heard = Vec::new();
        let mut chunk = [0; 4096];
        while !heard.windows(6).any(|window| window == b"\"news\"") {
            let count = stream.read(&mut chunk)?;
            ensure!(count > 0, "a watch ended");
            heard.extend_from_slice(&chunk[..count]);
        }
    }
    let used = world.daemon_memory()?;
    ensure!(used < before + GROWTH, "memory went from {before} to {used}");
    // A flood beyond the limit is told to come back; whoever asks something short is answered.
    for _ in 0..100 {
        let mut stream = world.connect()?;
        write!(stream, "GET {MAPS}?watch=true HTTP/1.1\r\nHost: klet\r\n\r\n")?;
        watches.push(stream);
    }
    let mut head = [0; 12];
    watches.last_mut().context("no watch")?.read_exact(&mut head)?;
    ensure!(&head == b"HTTP/1.1 429", "{:?}", String::from_utf8_lossy(&head));
    world.request("GET", "/readyz", b"")?;
    drop(watches);
    world.end()
}

/// What a client with another user's id gets.
fn as_user(world: &World, capabilities: &str) -> anyhow::Result<String> {
    let socket = world.path("run/klet.sock").display().to_string();
    let script = "my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or do { print \"$!\"; exit };
        print $s \"GET /readyz HTTP/1.1\\r\\nHost: k\\r\\nConnection: close\\r\\n\\r\\n\"; print <$s>;";
    let mut command = vec!["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
    let (inherited, ambient) =
        (format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}"));
    if !capabilities.is_empty() {
        command.extend([inherited.as_str(), ambient.as_str()]);
    }
    command.extend(["perl", "-MIO::Socket::UNIX", "-e", script, &socket]);
    world.inside(&command)
}

#[test]
fn only_root_may_use_the_socket_unless_its_mode_is_opened() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let mode = |path: &str, mode| {
        std::fs::set_permissions(world.path(path), std::fs::Permissions::from_mode(mode))
    };
    mode("", 0o755)?;
    mode("run", 0o755)?;
    let denied = as_user(&world, "")?;
    ensure!(denied == "Permission denied", "{denied:?}");
    let refused = as_user(&world, "+dac_override")?;
    ensure!(refused.starts_with("HTTP/1.1 403 "), "{refused:?}");
    let (_, told) = status(refused.as_bytes())?;
    let text = "user 1000 may not use this socket: only root may while its mode is 0600";
    ensure!(told["message"] == text, "{told}");
    mode("run/klet.sock", 0o666)?;
    let answer = as_user(&world, "")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    world.end()
}
