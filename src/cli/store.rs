//! `store`: what the store holds, whether it is whole, what it keeps, and what could go.

mod gc;
mod pin;
mod usage;
mod verify;

use super::arguments::{self, Global};
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};

/// Does what is asked of the store.
pub fn run(command: &arguments::Store, global: &Global, output: &Output) -> CommandResult {
    let early = |failure| (serde_json::Value::Null, failure);
    match command {
        arguments::Store::Usage => usage::run(global, output).map_err(early),
        arguments::Store::Verify(arguments) => verify::run(arguments, global, output),
        arguments::Store::Gc(arguments) => gc::run(arguments, global, output),
        arguments::Store::Pin(arguments) => pin::pin(arguments, global, output).map_err(early),
        arguments::Store::Unpin(arguments) => pin::unpin(arguments, global, output).map_err(early),
    }
}

fn broken(error: crate::store::Error) -> Failure {
    Failure::error(Kind::Machine, "store", &error)
}

/// `0 B`, `1.5 MiB`, `20.0 GiB`.
fn room(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_in_the_largest_fitting_unit() {
        assert_eq!(room(1023), "1023 B");
        assert_eq!(room(1536), "1.5 KiB");
        assert_eq!(room(20 << 30), "20.0 GiB");
        assert_eq!(room(5000 << 40), "5000.0 TiB");
    }
}
