//! Derivations: names resolved into a graph whose every node is named by its content.
