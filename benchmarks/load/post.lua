-- For wrk: posts the requests of a folder in turn. Its file `index` has a line for each, in fields between tabs: the file
-- of its body, its path, and name and value of each header.

local requests, turn = {}, 0

function init(args)
    for line in io.lines(args[1] .. "/index") do
        local fields, headers = {}, {}
        for field in line:gmatch("[^\t]+") do
            fields[#fields + 1] = field
        end
        for number = 3, #fields, 2 do
            headers[fields[number]] = fields[number + 1]
        end
        local file = assert(io.open(args[1] .. "/" .. fields[1], "rb"))
        requests[#requests + 1] = wrk.format("POST", fields[2], headers, file:read("*a"))
        file:close()
    end
end

function request()
    turn = turn % #requests + 1
    return requests[turn]
end

function done(summary, latency)
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format('\n{"answers": %d, "refused": %d, "broken": %d, "seconds": %f, "p50": %f, "p99": %f}\n',
        summary.requests, errors.status, broken, summary.duration / 1e6,
        latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
