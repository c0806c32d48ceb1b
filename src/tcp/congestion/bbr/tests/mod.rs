mod closed_loop;
mod path;
