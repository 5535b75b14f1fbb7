//! The `perestroika` program: everything is in the library.

use perestroika::{cli, sandbox::native};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Before anything else: a sandbox's process may have no threads.
    match native::child_main(std::env::args_os()) {
        Some(code) => code,
        None => cli::main(),
    }
}
