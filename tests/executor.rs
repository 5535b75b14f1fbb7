//! What runs builds is chosen by the user, and wrong choices are told. No container engine is
//! needed here: none of the addresses has one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Desk, Ran};

/// The user's own configuration.
const CONFIG: &str = "../.config/perestroika/config.toml";

const ENGINES: &str = "[executor.docker.hosts.near]\nhost = \"unix:///nonexistent/near.sock\"\n\
                       labels = [\"fast\"]\n";

/// Runs a command where nothing but `DOCKER_HOST` and these variables say anything of engines.
fn run(desk: &Desk, variables: &[(&str, &str)], words: &[&str]) -> Ran {
    let mut command = desk.command(&[], words);
    command.env("DOCKER_HOST", "unix:///nonexistent/of-environment.sock");
    command.envs(variables.iter().copied());
    Ran::new(words, &command.output().unwrap())
}

#[test]
fn an_engine_that_is_not_there_is_a_fault_of_the_machine_before_anything_is_begun() {
    let desk = Desk::single();
    let build = ["build", "--executor", "docker"];
    let shown = run(&desk, &[], &build).fails(3, &["unix:///nonexistent/of-environment.sock"]);
    assert!(shown.err.contains("perestroika doctor --executor docker"), "{}", shown.err);
    assert!(!desk.path("out").exists());
    let json = run(&desk, &[], &[&build[..], &["--json"]].concat()).fails(3, &[]).json();
    assert_eq!(json["errors"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json["errors"][0]["code"], "engine", "{json}");
    desk.write(CONFIG, ENGINES);
    run(&desk, &[], &build).fails(3, &["the container engine `near` cannot"]);
}

#[test]
fn a_release_may_wish_for_containers_and_its_ids_are_the_same() {
    let desk = Desk::single();
    let ids = |desk: &Desk| desk.run(&["eval", "--json"]).succeeds().json()["release"].clone();
    let before = ids(&desk);
    let file = desk.read("release.toml");
    desk.write("release.toml", format!("{file}\n[executor]\nkind = \"docker\"\n"));
    assert_eq!(ids(&desk), before);
    run(&desk, &[], &["build"]).fails(3, &["of-environment.sock"]);
    // Then the pinned indexes are what is missing.
    let natively = |ran: Ran| assert!(!ran.err.contains("engine"), "{}", ran.err);
    natively(run(&desk, &[], &["build", "--executor", "native"]));
    natively(run(&desk, &[("PERESTROIKA_EXECUTOR", "native")], &["build"]));
    desk.write(CONFIG, "[executor]\nkind = \"native\"\n");
    natively(run(&desk, &[], &["build"]));
    let addressed = "[executor]\nkind = \"docker\"\n[executor.docker.hosts.theirs]\n\
                     host = \"tcp://theirs.example.org:2375\"\n";
    desk.write("release.toml", format!("{file}\n{addressed}"));
    run(&desk, &[], &["eval"]).fails(2, &["does not say where container engines are"]);
}

#[test]
fn wrong_words_about_engines_are_the_users_input() {
    let desk = Desk::single();
    let docker = ["build", "--executor", "docker"];
    run(&desk, &[], &["build", "--executor", "podman"]).fails(2, &["native, docker"]);
    run(&desk, &[("PERESTROIKA_EXECUTOR", "podman")], &["build"]).fails(2, &["native, docker"]);
    run(&desk, &[("DOCKER_HOST", "ssh://build")], &docker).fails(2, &["DOCKER_HOST", "tcp://"]);
    run(&desk, &[], &["build", "--engine", "fast"]).fails(2, &["--executor docker"]);
    for (config, flags, words) in [
        (ENGINES, &["--engine", "slow"][..], &["`slow`", "there is `near` (fast)"][..]),
        ("[executor.docker]\nlabels = [\"slow\"]\n", &[], &["`slow`", "config.toml"]),
        ("[executor]\nkind = \"podman\"\n", &[], &["config.toml", "`native` or `docker`"]),
        ("[executor.docker.hosts]\n", &[], &["no engine is named"]),
        ("[executor.docker.hosts.a]\nhost = \"build:2376\"\n", &[], &["`build:2376`", "tcp://"]),
    ] {
        desk.write(CONFIG, config);
        run(&desk, &[], &[&docker[..], flags].concat()).fails(2, words);
    }
}

#[test]
fn doctor_looks_at_engines_that_somebody_asked_for() {
    let desk = Desk::single();
    let words = ["doctor"];
    let mut command = desk.command(&[], &words);
    let ran = Ran::new(&words, &command.env_remove("DOCKER_HOST").output().unwrap());
    assert!(ran.out.contains("docker: not asked for"), "{}", ran.out);
    let ran = run(&desk, &[], &words).fails(3, &["in containers"]);
    assert!(ran.out.contains("unix:///nonexistent/of-environment.sock"), "{}", ran.out);
    assert!(ran.out.contains("to mend it"), "{}", ran.out);
    desk.write(CONFIG, ENGINES);
    let json = run(&desk, &[], &["doctor", "--json"]).fails(3, &[]).json();
    let mut findings = json["findings"].as_array().unwrap().iter();
    let missing = findings.find(|one| one["executor"] == "docker").unwrap();
    assert_eq!(missing["ok"], false, "{json}");
    assert!(missing["detail"].as_str().unwrap().contains("near"), "{json}");
}

#[test]
fn room_is_freed_here_even_if_an_engine_does_not_answer() {
    let desk = Desk::single();
    let ran = run(&desk, &[], &["store", "gc"]).succeeds();
    assert!(ran.err.contains("of-environment.sock"), "{}", ran.err);
    let json = run(&desk, &[], &["store", "gc", "--json"]).succeeds().json();
    assert!(json["engines"].is_null() && json["things"].is_array(), "{json}");
    let words = ["store", "gc"];
    let mut command = desk.command(&[], &words);
    let ran = Ran::new(&words, &command.env_remove("DOCKER_HOST").output().unwrap()).succeeds();
    assert_eq!(ran.err, "");
}
