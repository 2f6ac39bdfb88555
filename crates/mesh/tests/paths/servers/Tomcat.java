// Tomcat: the servlet path, with encoded slashes and backslashes let through.
import jakarta.servlet.http.*;
import java.io.IOException;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.buf.EncodedSolidusHandling;

public class TomcatPaths {
  public static void main(String[] arguments) throws Exception {
    Tomcat tomcat = new Tomcat();
    tomcat.setBaseDir(System.getProperty("java.io.tmpdir") + "/weft-tomcat");
    tomcat.setPort(Integer.parseInt(arguments[0]));
    var connector = tomcat.getConnector();
    connector.setEncodedSolidusHandling(arguments.length > 1 ? "decode" : "reject");
    Context context = tomcat.addContext("", null);
    Tomcat.addServlet(context, "paths", new HttpServlet() {
      @Override
      protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        response.setCharacterEncoding("UTF-8");
        response.getWriter().write(request.getServletPath());
      }
    });
    context.addServletMappingDecoded("/", "paths");
    tomcat.start();
    tomcat.getServer().await();
  }
}
