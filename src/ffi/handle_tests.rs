use super::*;
use crate::map::HashSeed;

fn shared() -> *const Shared {
    std::ptr::dangling()
}

fn connection(handle: *const utcp_connection) -> Result<ConnectionId, Error> {
    // SAFETY: every arena here outlives the pointers into it.
    unsafe { ConnectionSlot::from_c(handle) }.map(|slot| slot.id())
}

fn circuit(handle: *const utcp_circuit) -> Result<CircuitId, Error> {
    // SAFETY: as above.
    unsafe { CircuitSlot::from_c(handle) }.map(|slot| slot.id())
}

#[test]
fn a_slot_is_small() {
    assert!(size_of::<Slot>() <= 40, "{}", size_of::<Slot>());
}

#[test]
fn handles_lead_to_their_ids_and_nothing_else_does() {
    let mut arena = Arena::new(HashSeed::new(&[1; 32]));
    let a = arena.add_connection(shared(), ConnectionId(7)).to_c();
    let b = arena
        .add_circuit(shared(), CircuitId(8), ConnectionId(7), 99)
        .to_c();
    assert_eq!(connection(a), Ok(ConnectionId(7)));
    assert_eq!(circuit(b), Ok(CircuitId(8)));
    assert_eq!(connection(b.cast()), Err(Error::Handle));
    assert_eq!(circuit(a.cast()), Err(Error::Handle));
    assert_eq!(circuit(std::ptr::null()), Err(Error::Null));
    assert_eq!(circuit(b.wrapping_byte_add(1)), Err(Error::Handle));
    let slot = arena.circuit(CircuitId(8)).expect("it is there");
    assert_eq!((slot.number(), slot.connection()), (99, ConnectionId(7)));
}

#[test]
fn a_freed_handle_is_recognized_until_its_slot_comes_round_again() {
    let mut arena = Arena::new(HashSeed::new(&[1; 32]));
    let freed = arena
        .add_circuit(shared(), CircuitId(0), ConnectionId(1), 1)
        .to_c();
    arena.remove_circuit(CircuitId(0));
    assert_eq!(circuit(freed), Err(Error::Handle));
    // Open and close: the slot waits behind all others.
    for id in 1..=QUARANTINE as u64 {
        let other = arena
            .add_circuit(shared(), CircuitId(id), ConnectionId(1), 1)
            .to_c();
        assert_ne!(other, freed);
        arena.remove_circuit(CircuitId(id));
        assert_eq!(circuit(freed), Err(Error::Handle));
    }
}

#[test]
fn slots_are_reused_so_that_handles_do_not_pile_up() {
    let mut arena = Arena::new(HashSeed::new(&[1; 32]));
    for id in 0..10_000 {
        arena.add_circuit(shared(), CircuitId(id), ConnectionId(1), 1);
        arena.remove_circuit(CircuitId(id));
    }
    assert_eq!(arena.chunks.len(), 1);
    assert!(arena.is_unused());
}

#[test]
fn handles_stay_where_they_are_while_the_arena_grows() {
    let mut arena = Arena::new(HashSeed::new(&[1; 32]));
    let handles: Vec<_> = (0..2_000u64)
        .map(|id| {
            arena
                .add_circuit(shared(), CircuitId(id), ConnectionId(1), id as u32 + 1)
                .to_c()
        })
        .collect();
    for (id, handle) in handles.iter().enumerate() {
        assert_eq!(circuit(*handle), Ok(CircuitId(id as u64)));
    }
    let mut unique = handles.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), handles.len());
}

#[test]
fn a_control_circuits_handle_goes_with_its_connections() {
    let mut arena = Arena::new(HashSeed::new(&[1; 32]));
    let a = arena.add_connection(shared(), ConnectionId(1)).to_c();
    let b = arena.add_connection(shared(), ConnectionId(2)).to_c();
    let control_a = arena
        .add_circuit(shared(), CircuitId(10), ConnectionId(1), 0)
        .to_c();
    let control_b = arena
        .add_circuit(shared(), CircuitId(20), ConnectionId(2), 0)
        .to_c();
    let other = arena
        .add_circuit(shared(), CircuitId(11), ConnectionId(1), 5)
        .to_c();
    arena.remove_connection(ConnectionId(1));
    assert_eq!(connection(a), Err(Error::Handle));
    assert_eq!(circuit(control_a), Err(Error::Handle));
    assert_eq!(circuit(other), Ok(CircuitId(11)));
    assert_eq!(connection(b), Ok(ConnectionId(2)));
    assert_eq!(circuit(control_b), Ok(CircuitId(20)));
    assert!(!arena.is_unused());
    arena.remove_circuit(CircuitId(11));
    arena.remove_connection(ConnectionId(2));
    assert!(arena.is_unused());
    assert!(arena.controls.is_empty());
}

#[test]
fn a_new_handle_has_nothing_of_the_one_before() {
    let mut arena = Arena::new(HashSeed::new(&[1; 32]));
    let slot = arena.add_connection(shared(), ConnectionId(1));
    slot.set_known();
    slot.slot().set_user(std::ptr::dangling_mut());
    arena.remove_connection(ConnectionId(1));
    for id in 2..1_000 {
        let slot = arena.add_connection(shared(), ConnectionId(id));
        assert!(!slot.is_known() && slot.slot().user().is_null());
        arena.remove_connection(ConnectionId(id));
    }
}
