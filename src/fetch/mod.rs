//! Bringing bytes in, each checked against its digest before it enters the store.
