//! `doctor`: whether this machine can build in isolation.

use serde_json::{Value, json};

use super::arguments::Global;
use super::config::Config;
use super::context::open_store_to_look;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::base::HostPath;
use crate::sandbox::doctor;

/// Tries everything a build needs, and says what to change where it fails.
pub fn run(global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let store = open_store_to_look(global).map_err(wrong)?;
    let config = Config::load().map_err(wrong)?;
    let program = std::env::current_exe()
        .map(HostPath::new)
        .map_err(|error| wrong(Failure::error(Kind::Machine, "program", &error)))?;
    let findings = doctor::probe(&program, store.root(), config.enforcement(None));
    for finding in &findings {
        let mark = if finding.ok { "ok  " } else { "FAIL" };
        output.text(&format!("{mark}  {}: {}\n", finding.name, finding.detail));
        if let Some(remedy) = &finding.remedy {
            output.text(&format!("      to mend it: {remedy}\n"));
        }
    }
    let listed: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "name": finding.name,
                "ok": finding.ok,
                "detail": finding.detail,
                "remedy": finding.remedy,
            })
        })
        .collect();
    let document = json!({ "findings": listed });
    let failed = findings.iter().filter(|finding| !finding.ok).count();
    if failed == 0 {
        output.text("this machine can build in isolation\n");
        return Ok(document);
    }
    let message =
        format!("this machine cannot build in isolation: {failed} of its parts are missing");
    Err((document, Failure::new(Kind::Machine, "isolation", message)))
}
