//! The engine with components of every habit.
