import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;

/**
 * Upload files one after another with the HttpClient of Java as it comes, which offers h2c with its first request.
 *
 * Usage: java Upload.java URL CONTENT_TYPE FILE...; prints status and body of each response.
 */
public class Upload {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 2; i < arguments.length; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                    .header("Content-Type", arguments[1])
                    .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[i])))
                    .build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body());
        }
    }
}
