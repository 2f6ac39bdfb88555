//! Small services that show Weft at work.
