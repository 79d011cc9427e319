-- Only adds. Until 1.0 is gone, whichever release adds somebody, a trigger writes what the other one
-- reads. (Neither release changes a name.)
alter table people add column given text, add column family text;

create function people_names() returns trigger language plpgsql as $$
begin
    if new.name is null then
        new.name := rtrim(new.given || ' ' || new.family);
    elsif new.given is null then
        new.given := split_part(new.name, ' ', 1);
        new.family := substr(new.name, length(new.given) + 2);
    end if;
    return new;
end
$$;

create trigger people_names before insert or update on people
    for each row execute function people_names();
-- windlass: down
drop trigger people_names on people;
drop function people_names();
alter table people drop column given, drop column family;
