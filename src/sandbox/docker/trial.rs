//! What unit tests of this module share: engines to try things on, and programs to try.

use bollard::Docker;

/// The engines that tests may use. Says so aloud where one is missing; an error where
/// `PERESTROIKA_REQUIRE` names it.
pub fn engines() -> Vec<Docker> {
    let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
    let mut engines = Vec::new();
    for name in ["docker", "podman"] {
        let variable = format!("PERESTROIKA_TEST_{}", name.to_uppercase());
        match std::env::var(&variable) {
            Ok(address) => {
                let client = Docker::connect_with_unix(&address, 120, bollard::API_DEFAULT_VERSION);
                engines.push(client.expect("a client"));
            }
            Err(_) => {
                let demanded = required.split(',').any(|word| word == name);
                assert!(!demanded, "`{variable}` does not say where {name} listens");
                eprintln!("SKIPPED: `{variable}` does not say where {name} listens");
            }
        }
    }
    engines
}

/// A static program for x86-64: segments of these kinds, all of them the whole file, and then
/// `code`, at which it starts.
pub fn program(segments: &[u32], code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let start = 64 + 56 * segments.len() as u64;
    let size = start + code.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    // An executable, version 1; the entry; one table, of segments; header sizes.
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend([BASE + start, 64, 0].map(u64::to_le_bytes).as_flattened());
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0]);
    bytes.extend([segments.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
    for kind in segments {
        // To be read and executed.
        bytes.extend([*kind, 5].map(u32::to_le_bytes).as_flattened());
        bytes.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).as_flattened());
    }
    bytes.extend(code);
    bytes
}

/// The code that makes each of these system calls with one argument and then ends: with 0 if all
/// were answered as said (0, or an error number), else with the place of the first other one,
/// counted from 1.
pub fn code(calls: &[(i64, u32, i32)]) -> Vec<u8> {
    const EXIT: [u8; 7] = [0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut code = Vec::new();
    for (place, (call, argument, answer)) in calls.iter().enumerate() {
        // eax and edi; esi, edx and r10 are 0.
        code.extend([&[0xb8], &(*call as u32).to_le_bytes()[..]].concat());
        code.extend([&[0xbf], &argument.to_le_bytes()[..]].concat());
        code.extend([0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2, 0x0f, 0x05]);
        // Compare; edi is the place; skip the end if equal.
        code.extend([&[0x3d], &(-answer).to_le_bytes()[..]].concat());
        code.extend([&[0xbf], &(place as u32 + 1).to_le_bytes()[..]].concat());
        code.extend([0x74, EXIT.len() as u8]);
        code.extend(EXIT);
    }
    code.extend([0x31, 0xff]);
    code.extend(EXIT);
    code
}
