//! RuntimeUA alone, against model answers.
