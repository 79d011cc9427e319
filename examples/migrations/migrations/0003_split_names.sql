-- windlass: phase data
-- windlass: batch people.id size 1000
-- Rows from before the trigger go through it.
update people set name = name where id between :lo and :hi and given is null;
