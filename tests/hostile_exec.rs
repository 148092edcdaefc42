//! Exec sessions: many, with terminals, left alone, and in containers that die.

use klet_e2e::World;
use klet_e2e::pods::{busybox, pod};

fn sleeper(world: &World) -> anyhow::Result<()> {
    world.create(&pod("host", busybox("exec sleep 100000")))?;
    world.ready("host")?;
    Ok(())
}

fn processes(world: &World) -> anyhow::Result<String> {
    Ok(world.execute("host", &["ps", "-o", "comm,args"])?.stdout)
}

#[test]
fn a_hundred_commands_at_once_all_answer() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    sleeper(&world)?;
    let sessions = (0..100)
        .map(|number| {
            let script = format!("read line; echo {number} $line; exit {}", number % 50);
            world.open_exec("host", &["sh", "-c", &script], false)
        })
        .collect::<Result<Vec<_>, _>>()?;
    for (number, mut session) in sessions.into_iter().enumerate().rev() {
        session.send(b"go\n")?;
        let end = session.end()?;
        assert_eq!((end.code, end.stdout), (number as i64 % 50, format!("{number} go\n")));
    }
    world.delete("host")?;
    world.end()
}

#[test]
fn a_terminal_has_a_size_echoes_and_ends() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    sleeper(&world)?;
    let mut session = world.open_exec("host", &["sh"], true)?;
    session.resize(132, 43)?;
    session
        .send(b"test -t 0 && until stty size | grep '43 132'; do :; done; echo typed-$((6*7))\n")?;
    session.until_says("43 132")?;
    session.until_says("typed-42")?;
    session.send(b"exit 5\n")?;
    assert_eq!(session.end()?.code, 5);
    world.delete("host")?;
    world.end()
}

#[test]
fn a_client_that_vanishes_takes_its_command_along() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    sleeper(&world)?;
    for tty in [false, true] {
        let script = "(sleep 77777 &) ; echo begun; sleep 88888";
        let mut session = world.open_exec("host", &["sh", "-c", script], tty)?;
        session.until_says("begun")?;
        assert!(processes(&world)?.contains("88888"));
        session.vanish()?;
        world.until("its processes are gone", |world| {
            let seen = processes(world)?;
            anyhow::ensure!(!seen.contains("77777") && !seen.contains("88888"), "{seen}");
            Ok(Some(()))
        })?;
    }
    world.delete("host")?;
    world.end()
}

#[test]
fn a_command_dies_with_its_container_and_its_client_hears_of_it() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&pod(
        "mortal",
        busybox("read line < /tmp/end || mkfifo /tmp/end; read line < /tmp/end; exit 9"),
    ))?;
    world.ready("mortal")?;
    let mut session = world.open_exec("mortal", &["sh", "-c", "echo begun; sleep 88888"], false)?;
    session.until_says("begun")?;
    world.execute(
        "mortal",
        &["sh", "-c", "until [ -p /tmp/end ]; do :; done; echo now > /tmp/end"],
    )?;
    assert_eq!(session.end()?.code, 137);
    assert_eq!(world.restarted("mortal")?["exitCode"], 9);
    world.delete("mortal")?;
    world.end()
}

#[test]
fn a_command_left_in_the_background_lives_on() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    sleeper(&world)?;
    let end = world.execute("host", &["sh", "-c", "sleep 77777 >/dev/null 2>&1 & echo left"])?;
    assert_eq!((end.code, end.stdout.as_str()), (0, "left\n"));
    assert!(processes(&world)?.contains("77777"));
    world.delete("host")?;
    world.end()
}

#[test]
fn what_cannot_be_executed_is_told() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    sleeper(&world)?;
    let error = match world.execute("host", &["/no/such/program"]) {
        Err(error) => error.to_string(),
        Ok(end) => end.status.to_string(),
    };
    assert!(error.contains("no such file or directory"), "{error}");
    world.delete("host")?;
    world.end()
}
