//! The lock operation: resolving what a release asks for and writing release.lock.
