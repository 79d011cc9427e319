exports.initials = (name) => name.split(" ").filter(Boolean).map((w) => w[0].toUpperCase()).join("");
