//! Someone who uses the API all the time and remembers what it answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, ensure};
use klet_e2e::World;
use serde_json::{Value, json};

use crate::pods::{self, KINDS, Kind};
use crate::rng::Rng;

/// Churning pods at once.
const MOST: usize = 6;
const PODS: &str = "/api/v1/namespaces/default/pods";
const NOTE: &str = "/api/v1/namespaces/default/configmaps/note";

/// What the API has acknowledged, and what it may or may not have done.
#[derive(Debug, Default)]
pub struct User {
    created: u64,
    execs: u64,
    /// Pods whose creation was acknowledged.
    present: BTreeMap<String, Kind>,
    /// Pods whose creation was not answered.
    doubtful: BTreeMap<String, Kind>,
    /// Pods whose deletion was acknowledged.
    deleted: BTreeSet<String>,
    /// Pods whose deletion was not answered.
    fading: BTreeSet<String>,
    /// The last acknowledged value of a ConfigMap, and the last one that was sent.
    noted: u64,
    sent: u64,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, execs, noted, .. } = self;
        write!(f, "{created} pods created, {execs} execs, {noted} notes")
    }
}

impl User {
    /// The pods there are.
    pub fn present(&self) -> impl Iterator<Item = String> + '_ {
        self.present.keys().cloned()
    }

    /// Does one thing; an error is a daemon that did not answer.
    pub fn act(&mut self, world: &World, rng: &mut Rng) -> anyhow::Result<()> {
        let names: Vec<String> = self.present().collect();
        if rng.one_in(8) {
            return self.exec(world);
        }
        if rng.one_in(2) {
            return self.note(world);
        }
        if names.len() < MOST || rng.one_in(4) && names.len() < 2 * MOST {
            return self.create(world, *rng.pick(&KINDS).context("no kinds")?);
        }
        let name = rng.pick(&names).context("no pods")?;
        let grace = rng.pick(&["", "?gracePeriodSeconds=0", "?gracePeriodSeconds=1"]).copied();
        self.delete(world, name, grace.unwrap_or_default())
    }

    fn create(&mut self, world: &World, kind: Kind) -> anyhow::Result<()> {
        self.created += 1;
        let name = format!("churn-{}", self.created);
        self.doubtful.insert(name.clone(), kind);
        world.create(&pods::churning(kind, &name, &world.path("state")))?;
        self.doubtful.remove(&name);
        self.present.insert(name, kind);
        Ok(())
    }

    fn delete(&mut self, world: &World, name: &str, grace: &str) -> anyhow::Result<()> {
        self.present.remove(name);
        self.fading.insert(name.to_owned());
        world.request("DELETE", &format!("{PODS}/{name}{grace}"), b"")?;
        self.fading.remove(name);
        self.deleted.insert(name.to_owned());
        Ok(())
    }

    /// Writes a number; once acknowledged, no smaller one may ever be read again.
    fn note(&mut self, world: &World) -> anyhow::Result<()> {
        self.sent += 1;
        let note = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "note" },
            "data": { "number": self.sent.to_string() },
        });
        let note = note.to_string();
        let written = world.request("PUT", NOTE, note.as_bytes());
        match written {
            Err(error) if error.to_string().contains(" 404 ") => {
                let list = NOTE.trim_end_matches("/note");
                world.request("POST", list, note.as_bytes())?;
            }
            other => drop(other?),
        }
        self.noted = self.sent;
        Ok(())
    }

    fn exec(&mut self, world: &World) -> anyhow::Result<()> {
        let answer = world.exec("counter", "idle", &["echo", "hello"])?;
        let has = |words: &[u8]| answer.windows(words.len()).any(|window| window == words);
        // A session that came to its end has said what it had to say.
        if has(b"\"Success\"") {
            ensure!(has(b"hello\n"), "exec: {:?}", String::from_utf8_lossy(&answer));
            self.execs += 1;
        }
        Ok(())
    }

    /// Compares what a daemon that has just started shows with what was acknowledged.
    pub fn check(&mut self, world: &World) -> anyhow::Result<()> {
        let list = world.request("GET", PODS, b"")?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let find = |name: &str| items.iter().find(|pod| pod["metadata"]["name"] == name);
        for name in self.present.keys().map(String::as_str).chain(pods::STABLE) {
            let pod = find(name).with_context(|| format!("pod {name} is lost"))?;
            let deleted = &pod["metadata"]["deletionTimestamp"];
            ensure!(deleted.is_null(), "pod {name} is being deleted");
        }
        for name in &self.deleted {
            let back = find(name).is_some_and(|p| p["metadata"]["deletionTimestamp"].is_null());
            ensure!(!back, "pod {name} is back");
        }
        for (name, kind) in std::mem::take(&mut self.doubtful) {
            if find(&name).is_some() {
                self.present.insert(name, kind);
            }
        }
        for name in std::mem::take(&mut self.fading) {
            // Ask again where it is not sure that the first request arrived.
            match world.request("DELETE", &format!("{PODS}/{name}?gracePeriodSeconds=1"), b"") {
                Err(error) if !error.to_string().contains(" 404 ") => return Err(error),
                Ok(_) | Err(_) => drop(self.deleted.insert(name)),
            }
        }
        let read = self.noted > 0;
        let note = if read { world.request("GET", NOTE, b"")? } else { Value::Null };
        let number = note["data"]["number"].as_str().unwrap_or("0").parse::<u64>()?;
        ensure!(
            (self.noted..=self.sent).contains(&number),
            "number {number} was read after {} was acknowledged and {} sent",
            self.noted,
            self.sent
        );
        Ok(())
    }

    /// Waits until the pods are where they should be, each container having started as often as
    /// its status says.
    pub fn settle(&mut self, world: &World) -> anyhow::Result<()> {
        for (name, kind) in &self.present {
            world.until(&format!("{name} ({kind:?}) is settled"), |world| {
                let pod = world.pod(name)?;
                Ok(settled(*kind, &pod).then_some(()))
            })?;
            world.until(&format!("the starts of {name} ({kind:?}) add up"), |world| {
                starts_add_up(world, name, *kind)
            })?;
        }
        for name in &self.deleted {
            world.until(&format!("deleted pod {name} is gone"), |world| {
                Ok(world.pod(name).is_err().then_some(()))
            })?;
        }
        Ok(())
    }
}

fn settled(kind: Kind, pod: &Value) -> bool {
    let status = &pod["status"];
    match kind {
        Kind::Server | Kind::Staged => status["containerStatuses"][0]["ready"] == true,
        Kind::Crashing => {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        }
        Kind::Job => status["phase"] == "Succeeded",
        Kind::Sick => status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1),
    }
}

fn starts_add_up(world: &World, name: &str, kind: Kind) -> anyhow::Result<Option<()>> {
    let count = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
    let before = count(&world.pod(name)?);
    let text = std::fs::read_to_string(world.path("state").join(name))?;
    let pod = world.pod(name)?;
    let starts: Vec<&str> = text.lines().collect();
    let main = starts.iter().filter(|line| **line == "main").count() as u64;
    if before != count(&pod) {
        return Ok(None);
    }
    let restarts = before.context("no restart count")?;
    if matches!(kind, Kind::Server | Kind::Staged | Kind::Job) {
        ensure!(restarts == 0, "{name} was restarted {restarts} times");
        let inits: &[&str] = if kind == Kind::Server { &[] } else { &["first", "second"] };
        let expected = [inits, &["main"]].concat();
        ensure!(starts == expected, "{name} started {starts:?}, not {expected:?}");
    }
    // A start that is just under way may have been told and not yet happened.
    ensure!(main <= restarts + 1, "{name} started {main} times, {restarts} restarts are told");
    Ok((main == restarts + 1).then_some(()))
}
