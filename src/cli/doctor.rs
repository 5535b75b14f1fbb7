//! `doctor`: whether this machine can build in isolation.

use serde_json::{Value, json};

use super::arguments::{ExecutorKind, Global};
use super::config::Config;
use super::context::open_store_to_look;
use super::executor::{self, Choice, Runner};
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::base::HostPath;
use crate::sandbox::doctor::{self, Finding};

/// Tries everything a build needs, and says what to change where it fails: on this machine always,
/// on container engines if somebody asked for them.
pub fn run(global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let store = open_store_to_look(global).map_err(wrong)?;
    let config = Config::load().map_err(wrong)?;
    let hosts = executor::asked_for(global, &config).map_err(wrong)?;
    let program = std::env::current_exe()
        .map(HostPath::new)
        .map_err(|error| wrong(Failure::error(Kind::Machine, "program", &error)))?;
    let enforcement = config.enforcement(None);
    let native = doctor::probe(&program, store.root(), enforcement);
    tell(&native, output);
    let mut listed: Vec<Value> = native.iter().map(|one| document(one, "native")).collect();
    let engines = match hosts {
        None => {
            output.text("ok    docker: not asked for (`--executor docker` does)\n");
            Vec::new()
        }
        Some(hosts) => {
            let runner = Runner::open(Choice::Docker(hosts), store.root(), enforcement, global);
            runner.map_err(wrong)?.probe()
        }
    };
    for (_, findings) in &engines {
        tell(findings, output);
        listed.extend(findings.iter().map(|one| document(one, "docker")));
    }
    let document = json!({ "findings": listed });
    let failed = |findings: &[Finding]| findings.iter().filter(|finding| !finding.ok).count();
    let (useless, useful): (Vec<_>, Vec<_>) =
        engines.iter().partition(|(_, findings)| failed(findings) > 0);
    // One that cannot be used harms nobody as long as another can.
    let there = if useful.is_empty() { useless.len() } else { 0 };
    let here = failed(&native);
    for (name, _) in useless.iter().filter(|_| there == 0) {
        output.text(&format!("the engine `{name}` cannot be used; builds go to the others\n"));
    }
    // Who builds in containers may do so because this machine cannot.
    let is_elsewhere = executor::kind(global, &config, None) == ExecutorKind::Docker;
    match (here, there) {
        (0, 0) if engines.is_empty() => output.text("this machine can build in isolation\n"),
        (0, 0) => output.text("this machine can build in isolation, natively and in containers\n"),
        (_, 0) if is_elsewhere => {
            output.text("this machine can build in isolation in containers, but not natively\n");
        }
        (0, _) => {
            let engines = match there {
                1 => "its engine cannot be used".to_owned(),
                many => format!("none of its {many} engines can be used"),
            };
            let message = format!("this machine cannot build in containers: {engines}");
            return Err((document, Failure::new(Kind::Machine, "isolation", message)));
        }
        _ => {
            let message = format!(
                "this machine cannot build in isolation: {} of its parts are missing",
                here + there
            );
            return Err((document, Failure::new(Kind::Machine, "isolation", message)));
        }
    }
    Ok(document)
}

fn tell(findings: &[Finding], output: &Output) {
    for finding in findings {
        let mark = if finding.ok { "ok  " } else { "FAIL" };
        output.text(&format!("{mark}  {}: {}\n", finding.name, finding.detail));
        if let Some(remedy) = &finding.remedy {
            output.text(&format!("      to mend it: {remedy}\n"));
        }
    }
}

fn document(finding: &Finding, executor: &str) -> Value {
    json!({
        "executor": executor,
        "name": finding.name,
        "ok": finding.ok,
        "detail": finding.detail,
        "remedy": finding.remedy,
    })
}
