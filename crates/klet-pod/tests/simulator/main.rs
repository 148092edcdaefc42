//! Thousands of worlds in which everything that can go wrong does, each on virtual time, and a
//! checker that knows the rules of pod life.
//!
//! `KLET_SIM_SEED=n` replays one world; `KLET_SIM_WORLDS=n` sets how many are lived through.
#![expect(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

mod bugs;
mod checker;
mod facts;
mod node;
mod rng;
mod scenario;
mod world;

use world::World;

const WORLDS: u64 = 3000;
/// Every planted bug is found within this many worlds.
const ENOUGH: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

/// Lives through one world; tells which rule was broken, when, and how to see it again.
fn live(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed, None);
    world.run().map_err(|broken| {
        let spec = serde_json::to_string(&world.pod.spec).unwrap();
        format!("KLET_SIM_SEED={seed} at {}: {broken}\n  {spec}", world.now)
    })
}

#[test]
fn every_world_keeps_the_rules() {
    let seeds = match number("KLET_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KLET_SIM_WORLDS").unwrap_or(WORLDS),
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let shares = (0..threads).map(|share| {
            let seeds = seeds.clone().skip(share).step_by(threads);
            scope.spawn(move || seeds.filter_map(|seed| live(seed).err()).collect::<Vec<_>>())
        });
        let shares: Vec<_> = shares.collect();
        shares.into_iter().flat_map(|share| share.join().expect("worlds end")).collect()
    });
    let first = broken.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(broken.is_empty(), "{} worlds broke a rule:\n{first}", broken.len());
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<_> = bugs::ALL
        .into_iter()
        .filter(|bug| (0..ENOUGH).all(|seed| World::new(seed, Some(*bug)).run().is_ok()))
        .collect();
    assert!(missed.is_empty(), "the checker does not see {missed:?}");
}
