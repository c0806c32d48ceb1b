mod closed_loop;
mod invariants;
mod path;
mod response;
mod script;
mod transitions;
