-- Script for wrk: posts the requests of a folder in rotation and prints the result as JSON. Each line of the folder's
-- file `index` describes a request in fields separated by tabs: name of the file with the body, path, then name and
-- value of each header.

local requests, last = {}, 0

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
    last = last % #requests + 1
    return requests[last]
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.timeout
    local format = '\n{"responses": %d, "rejected": %d, "failed": %d, "seconds": %f, "p50_s": %f, "p99_s": %f}\n'
    io.write(string.format(format, summary.requests, errors.status, failed, summary.duration / 1e6,
        latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
